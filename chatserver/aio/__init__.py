"""asyncio: tasks, deadlines and batches."""

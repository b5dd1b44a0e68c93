"""asyncio: tasks, deadlines, batches and caches."""

"""The database: engine, migrations, tables, and what the host's own tables hold."""

"""All SQL: one module for each table family; each function takes the connection to use.

The SQL is written as SQL (see docs/decisions/sql-as-sql.md). `get_*` answers None
where there is nothing, `list_*` a list; nothing here decides who may do what.
"""

"""The OpenAPI document: what is served, in a form that programs read. `table` has a row for each operation."""

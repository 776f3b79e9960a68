"""The brain: owns the record, decides what should be where. Never talks to Docker.

`planning` decides (pure), `snapshot` loads what one decision may know, `apply` writes its outcome,
`reconciler` is one pass, `worker` keeps passes going, `dispatch` is the side that agents see,
`store` holds every SQL statement.
"""

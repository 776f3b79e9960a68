"""Faults one after the other on real engines, users beside them, and nobody's promise broken: `./tutela chaos`.

`plan` says what strikes when (pure, from a seed), `faults` is the table of kinds, `stage` what they are played on,
`users` call the API, `watch` looks at every engine all the time, `judge` says what was not as promised, `run` puts it
together.
docs/design/chaos.md has the kinds, their bounds, and how to add one.
"""

"""The HTTP face: authenticate, parse, call one command or store function, render. No rules, no SQL."""

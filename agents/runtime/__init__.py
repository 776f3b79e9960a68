"""The engine behind one protocol: `base` says what the agent needs, `docker` does it. Nothing else imports the SDK."""

"""Brake, quarantine, backup, restore, rebuild: what stands between a wrong record and the containers."""

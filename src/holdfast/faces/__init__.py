"""Thin skins over client/, nothing else."""

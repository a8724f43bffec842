"""Journeys: where somebody is in them, how they move on, what a new definition does to them, and what came of it."""

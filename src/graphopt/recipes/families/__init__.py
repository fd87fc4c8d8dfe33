"""Recipes made on the fly: for ``FAMILY:REST``, the function ``recipe_for(REST)`` of ``FAMILY.py`` here."""

"""Searches and studies: many arms over derived recipes."""

"""How does one process serve everybody?"""

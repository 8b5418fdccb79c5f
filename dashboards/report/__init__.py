"""How is the whole answer written down?"""

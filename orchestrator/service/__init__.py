"""How do the parts make a whole? Studies created, driven, followed, rehearsed."""

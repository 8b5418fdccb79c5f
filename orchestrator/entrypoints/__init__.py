"""Which training code of our own is there beside the trainer?"""

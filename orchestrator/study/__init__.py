"""What is a study, before anything of it runs?"""

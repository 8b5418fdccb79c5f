"""What does somebody get who installs a wheel, apart from this checkout?"""

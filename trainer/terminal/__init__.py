"""How does a person train and use one model at a terminal?"""

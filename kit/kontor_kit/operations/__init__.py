"""Long-running operations (AIP-151): started with a write, worked on by whoever is free, resumed after a crash, once.

schema    the tables
work      what a function that does such work is given, and how it ends
runner    takes what is due, under a lease, and keeps what became of it
servicer  starts, shows and cancels them
upkeep    the operator's list
"""

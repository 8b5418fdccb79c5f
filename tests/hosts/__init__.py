"""Hosts on one machine: namespaces joined by a bridge, each with its address, name, processes and Ray node.

`make test-hosts` runs these, as root; elsewhere they are skipped with the reason.
"""

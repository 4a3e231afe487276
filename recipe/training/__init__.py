"""The algorithm. Begin with loop.py."""

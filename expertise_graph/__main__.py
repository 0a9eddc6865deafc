"""`python -m expertise_graph` is the command line."""

from expertise_graph.cli import main

if __name__ == "__main__":
    main()

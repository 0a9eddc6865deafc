"""`python -m expertise_graph`, `expertise-graph` and `xg` are the command line."""

import sys

try:
    from expertise_graph.cli import main
except KeyboardInterrupt:
    # Ctrl-C before there is a command: nothing was begun, and a traceback of imports says nothing.
    sys.exit(130)

if __name__ == "__main__":
    main()

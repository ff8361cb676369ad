"""python -m infoplane"""

import os
import sys

# `-m` puts the current folder first, where a file of the user's called `types.py` or `torch.py` would be imported
# instead of the real one.
if sys.path and sys.path[0] in ("", os.getcwd()) and not sys.flags.safe_path:
    del sys.path[0]

from infoplane.cli import main

if __name__ == "__main__":
    main()

"""python -m infoplane"""

from infoplane.cli import main

if __name__ == "__main__":
    main()

"""``python benchmarks/apply_deepmar.py``: the case deepmar_bs1 of ``apply.py``."""

import sys

from apply import main

if __name__ == "__main__":
    sys.argv[1:] = ["deepmar_bs1", *sys.argv[1:]]
    raise SystemExit(main())

"""Find the top-level folders in a checkout whose symbolic links were lost (git on Windows).

Inert in an installed wheel, where ``graphopt/surgery`` and its sisters are ordinary folders.
"""

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]

if (_ROOT / "pyproject.toml").is_file() and (_ROOT / "surgery" / "__init__.py").is_file():
    sys.modules["graphopt"].__path__.append(str(_ROOT))

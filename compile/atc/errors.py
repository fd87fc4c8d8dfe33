"""What ATC's error codes mean and what to do about them."""

import re
from dataclasses import dataclass
from types import MappingProxyType

_CODE = re.compile(r"\b(E[A-Z]\d{4}|[EW]\d{5})\b")


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One error code of ATC.

    Attributes:
        meaning: a clause.
        remedy: an imperative clause.
    """

    meaning: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An error code found in a log.

    Attributes:
        code: e.g. ``"E10016"``.
        line: the line of the log it stands in.
        explanation: None for a code that graphopt does not know.
    """

    code: str
    line: str
    explanation: Explanation | None

    def __str__(self) -> str:
        """Return code, meaning and remedy in one line."""
        if self.explanation is None:
            return self.line if self.line.startswith(self.code) else f"{self.code}: {self.line}"
        return f"{self.code}: {self.explanation.meaning}; {self.explanation.remedy}"


def _e(meaning: str, remedy: str) -> Explanation:
    return Explanation(meaning=meaning, remedy=remedy)


_UNREGISTERED = _e(
    "an operator, or its version at the model's opset, is not known to this CANN",
    "rewrite the operator with a pass, lower the opset, or install a custom operator package",
)
_NO_KERNEL = _e(
    "the operator is known, but not with this data type, format or shape on this chip",
    "change the data type (int64 to int32), the shape or the operator with a pass",
)
_BAD_FILE = _e("a file cannot be opened, read, written or parsed", "check the path and the file")
_INNER = _e("an inner error; the message above it or the log in $HOME/ascend/log has the cause", "look there")
_PYTHON = _e(
    "the operator compiler (TBE) failed", "check CANN's Python environment: version, numpy, decorator, sympy"
)
_PROFILES = _e("the profiles of a dynamic_* option are wrong", "see their number, lengths and values")
_EXCLUDE = _e("options exclude each other", "keep one of them")

EXPLANATIONS = MappingProxyType(
    {
        "E10001": _e("an option has an invalid value", "read the reason that ATC gives"),
        "E10002": _e("input_shape cannot be parsed", 'write "name:1,3,224,224", in quotes'),
        "E10004": _e("an option is empty", "give a value or leave it out"),
        "E10005": _e("an option must be true or false", "correct it"),
        "E10006": _e("an option must be 1 or 0", "correct it"),
        "E10007": _e("framework is missing", "add --framework=5"),
        "E10008": _e("framework 0 (Caffe) was asked for", "use --framework=5 for ONNX"),
        "E10009": _e("the dynamic_* options and input_shape_range exclude each other", "keep one"),
        "E10010": _e("the log level is unknown", "use error, warning, info, debug or null"),
        "E10011": _e("a size in input_shape is not positive", "fix it, or add profiles"),
        "E10012": _e("dynamic_batch_size needs an input with axes", "drop it or change the input"),
        "E10013": _e("a size in input_shape is out of range", "correct it"),
        "E10014": _e("a size in input_shape is no number", "correct it"),
        "E10016": _e("a name in an option is not in the model", "list its names with graphopt inspect"),
        "E10017": _e("a name in input_shape is inside the graph", "name an input"),
        "E10018": _e("only the batch size may be -1", "fix the others, or use dynamic_dims"),
        "E10019": _e("only height and width may be -1", "fix the others, or use dynamic_dims"),
        "E10020": _e("dynamic_image_size cannot be parsed", 'write "224,224;448,448"'),
        "E10021": _e("a path is too long", "work in a shorter folder"),
        "E10022": _e("a path has no file name", "give a file"),
        "E10031": _e("no input has -1 as its first size", "write -1 for the batch"),
        "E10034": _e("an input with AIPP is fp16", "leave out input_fp16_nodes"),
        "E10035": _PROFILES,
        "E10036": _PROFILES,
        "E10037": _PROFILES,
        "E10038": _PROFILES,
        "E10039": _PROFILES,
        "E10040": _e("with profiles, sizes must be -1 and not ranges", "write -1"),
        "E10041": _e("an om file is damaged", "compile it again"),
        "E10045": _e("the number of -1 differs from the values per profile", "give one value per -1"),
        "E10046": _e("the number of -1 differs from the values per profile", "give one value per -1"),
        "E10047": _EXCLUDE,
        "E10049": _e("input_shape has another rank than the input", "give one size per axis"),
        "E10052": _e("the AIPP file is invalid", "check insert_op_conf"),
        "E10054": _e("a required option is empty", "quote values with ';'"),
        "E10055": _e("the operation is not supported on this chip or in this release", "read ATC's reason"),
        "E10056": _EXCLUDE,
        **{f"E1300{digit}": _BAD_FILE for digit in range(7)},
        "E13018": _BAD_FILE,
        "E13009": _e("two nodes have one name, or a node has an input's", "rename them"),
        "E13010": _UNREGISTERED,
        "EZ9010": _UNREGISTERED,
        "E19010": _UNREGISTERED,
        "E16002": _UNREGISTERED,
        "E13015": _e("a file is too large", "put the weights outside: external_weight=1"),
        "E13023": _e("the om is too large", "put the weights outside: external_weight=1"),
        "E14001": _e("an attribute or shape does not fit the operator", "rewrite that node with a pass"),
        "E16001": _e("the graph has no input or no output", "export it again"),
        "E16004": _e("the file holds no graph", "export it again"),
        "E16005": _e("one operator domain is imported in two versions", "keep one in opset_import"),
        "EZ0501": _e("the operator package for this chip is missing", "install CANN's ops package for it"),
        "E10501": _e("the operator package for this chip is missing", "install CANN's ops package for it"),
        "EZ3002": _NO_KERNEL,
        "EZ3003": _NO_KERNEL,
        "EZ9999": _INNER,
        "E19999": _INNER,
        "E19025": _e("an input tensor is invalid", "read ATC's reason"),
        "E22001": _PYTHON,
        **{f"E2000{digit}": _PYTHON for digit in range(1, 10)},
        **{f"E4000{digit}": _PYTHON for digit in range(1, 4)},
        **{f"E4002{digit}": _PYTHON for digit in range(5)},
        "EL0004": _e("memory on the device ran out", "free the device, or use one that is idle"),
        "W11001": _e("an operator runs in a slower implementation", "replace it with a pass if it matters"),
    }
)
"""By error code."""


def find_errors(log: str) -> tuple[Finding, ...]:
    """Return the error codes in a log, each once, in order; warnings are left out."""
    found: dict[str, Finding] = {}
    for line in log.splitlines():
        for code in _CODE.findall(line):
            if not code.startswith("W") and code not in found:
                found[code] = Finding(code=code, line=line.strip(), explanation=EXPLANATIONS.get(code))
    return tuple(found.values())

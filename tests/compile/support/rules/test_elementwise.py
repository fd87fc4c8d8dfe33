from collections.abc import Callable

import pytest

BAD, SLOW = "unsupported", "restricted"


@pytest.mark.parametrize(
    ("body", "how", "expected"),
    [
        ("y = Clip(x, a)", {"weights": "<float a = {0}>"}, []),
        ("y = Clip(x)", {}, [f"{BAD} clip_bounds"]),
        ("y = Clip(x)", {"opset": 9}, []),
        ("y = PRelu(x, s)", {"weights": "<float[3] s = {1, 2, 3}>"}, []),
        ("y = PRelu(x, s)", {"weights": "<float[1] s = {1}>"}, []),
        ("y = PRelu(x, s)", {"weights": "<float[3,1,1] s = {1, 2, 3}>"}, [f"{BAD} prelu_slope"]),
        ("y = PRelu(x, s)", {"weights": "<float s = {1}>"}, [f"{BAD} prelu_slope"]),
        ("y = PRelu(x, s)", {"inputs": "float[1,3,8,9] x, float[9] s"}, [f"{BAD} prelu_slope"]),
        ("y = Selu(x)", {}, []),
        ("y = Selu<alpha=1.6732632, gamma=1.050701>(x)", {}, []),
        ("y = Selu<alpha=1.5>(x)", {}, [f"{BAD} selu"]),
        ("y = IsInf(x)", {}, []),
        ("y = IsInf<detect_negative=0>(x)", {}, [f"{BAD} is_inf_sign"]),
        ("y = Mod<fmod=1>(x, x)", {}, [f"{SLOW} mod_fmod"]),
        ("y = Mod(x, x)", {"inputs": "int32[5] x"}, []),
        ("y = LRN<size=5>(x)", {}, []),
        ("y = LRN<size=4>(x)", {}, [f"{BAD} lrn_size"]),
        ("y = DepthToSpace<blocksize=2>(x)", {"inputs": "float[1,8,3,5] x"}, []),
        ("y = DepthToSpace<blocksize=1>(x)", {"inputs": "float[1,8,3,5] x"}, [f"{BAD} blocksize"]),
        ("y = Mean(x, x)", {}, []),
        ("y = Mean(x)", {}, [f"{BAD} mean_single"]),
        ("y = Transpose<perm=[0,1,3,2]>(x)", {}, []),
        ("y = Transpose(x)", {}, [f"{BAD} transpose_perm"]),
        ("y = Flatten<axis=-1>(x)", {}, []),
        ("y = Flatten<axis=-1>(x)", {"cann": "5.0.2"}, ["unknown release", f"{BAD} flatten_axis"]),
        ("y = Gemm(a, b, c)", {"inputs": "float[2,3] a, float[3,5] b, float[5] c"}, []),
        (
            "y = Gemm(a, b, c)",
            {"inputs": "float[2,3] a, float[3,5] b, float[5] c", "cann": "5.0.2"},
            [f"{SLOW} gemm_c", "unknown release"],
        ),
        ('y = BitShift<direction="LEFT">(x, x)', {"inputs": "uint16[5] x"}, []),
        (
            'y = BitShift<direction="LEFT">(x, x)',
            {"inputs": "uint16[5] x", "cann": "5.0.2"},
            ["unknown release", f"{BAD} shift_left"],
        ),
        (
            'y = BitShift<direction="RIGHT">(x, x)',
            {"inputs": "uint16[5] x", "cann": "5.0.2"},
            ["unknown release"],
        ),
        (
            "y = MatMul(x, x)",
            {"inputs": "float[1,1,1,1,1,3,3] x", "cann": "5.0.2"},
            ["unknown release", f"{BAD} matmul_rank"],
        ),
        ("y = MatMul(x, x)", {"inputs": "float[3,3] x", "cann": "5.0.2"}, ["unknown release"]),
        ("y = EyeLike<k=1>(x)", {"inputs": "float[3,5] x"}, []),
        (
            "y = EyeLike<k=1>(x)",
            {"inputs": "float[3,5] x", "cann": "5.0.2"},
            ["unknown release", f"{BAD} eye_k"],
        ),
    ],
)
def test_single_operators(
    codes: Callable[..., list[str]], body: str, how: dict[str, object], expected: list[str]
) -> None:
    assert codes(body, **how) == expected


@pytest.mark.parametrize(
    ("shape", "expected"), [("1,3,8,9", []), ("1,3", [f"{SLOW} batchnorm_rank"]), ("1,3,N,9", [])]
)
def test_batch_norm(codes: Callable[..., list[str]], shape: str, expected: list[str]) -> None:
    inputs = f"float[{shape}] x, float[3] a, float[3] b, float[3] m, float[3] v"
    assert codes("y = BatchNormalization(x, a, b, m, v)", inputs=inputs) == expected

from collections.abc import Callable

import pytest

BAD, SLOW = "unsupported", "restricted"


@pytest.mark.parametrize(
    ("attributes", "inputs", "expected"),
    [
        ("", "float[1,3,8,9] x, float[5,3,2,4] w", []),
        ("kernel_shape=[2,4], strides=[63,1]", "float[1,3,88,9] x, float[5,3,2,4] w", []),
        ("strides=[64,1]", "float[1,3,88,9] x, float[5,3,2,4] w", [f"{BAD} conv_stride"]),
        ("", "float[1,3,8,399] x, float[5,3,2,255] w", []),
        ("", "float[1,3,8,399] x, float[5,3,2,256] w", [f"{BAD} conv_kernel"]),
        ("dilations=[256,1]", "float[1,3,888,9] x, float[5,3,2,4] w", [f"{BAD} conv_dilation"]),
        ("pads=[0,256,0,0]", "float[1,3,8,9] x, float[5,3,2,4] w", [f"{BAD} conv_pad"]),
        ("pads=[-1,0,0,0]", "float[1,3,8,9] x, float[5,3,2,4] w", [f"{BAD} conv_pad"]),
        ("", "float[1,3,8,4096] x, float[5,3,2,4] w", []),
        ("", "float[1,3,8,4097] x, float[5,3,2,4] w", [f"{SLOW} conv_width"]),
        ('auto_pad="VALID"', "float[1,3,7,8,9] x, float[5,3,2,4,3] w", []),
        ('auto_pad="SAME_UPPER"', "float[1,3,8,9] x, float[5,3,2,4] w", []),
        ('auto_pad="SAME_UPPER"', "float[1,3,7,8,9] x, float[5,3,2,4,3] w", [f"{BAD} conv_auto_pad"]),
        ("", "float[1,N,M,L] x, float[5,3,2,4] w", []),
    ],
)
def test_conv(codes: Callable[..., list[str]], attributes: str, inputs: str, expected: list[str]) -> None:
    assert codes(f"y = Conv<{attributes}>(x, w)", inputs=inputs) == expected


@pytest.mark.parametrize(
    ("attributes", "inputs", "cann", "expected"),
    [
        ("kernel_shape=[2,4]", "float[1,3,8,9] x, float[3,5,2,4] w", "", []),
        ("", "float[1,3,8,9] x, float[3,5,2,4] w", "", [f"{BAD} kernel_shape"]),
        ("kernel_shape=[2]", "float[1,3,8] x, float[3,5,2] w", "", [f"{BAD} deconv_rank"]),
        ("kernel_shape=[2,4], dilations=[2,1]", "float[1,3,8,9] x, float[3,5,2,4] w", "", []),
        (
            "kernel_shape=[2,4], dilations=[2,1]",
            "float[1,3,8,9] x, float[3,5,2,4] w",
            "5.0.4",
            ["unknown release", f"{BAD} deconv_dilation"],
        ),
        (
            'kernel_shape=[2,4], auto_pad="SAME_UPPER"',
            "float[1,3,8,9] x, float[3,5,2,4] w",
            "5.0.4",
            ["unknown release", f"{BAD} deconv_auto_pad"],
        ),
    ],
)
def test_conv_transpose(
    codes: Callable[..., list[str]], attributes: str, inputs: str, cann: str, expected: list[str]
) -> None:
    assert codes(f"y = ConvTranspose<{attributes}>(x, w)", inputs=inputs, cann=cann) == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("pads=[0,0,0,0], strides=[1,1]", []),
        ("strides=[1]", [f"{BAD} col2im_rank"]),
        ("pads=[0,0]", [f"{BAD} col2im_rank"]),
    ],
)
def test_col2im(codes: Callable[..., list[str]], attributes: str, expected: list[str]) -> None:
    inputs = "float[1,6,5] x, int64[2] n, int64[2] k"
    assert codes(f"y = Col2Im<{attributes}>(x, n, k)", inputs=inputs, opset=18, cann="9.2") == expected

import itertools

from graphopt.recipes.layered_layout import lay_out


def overlap(one: tuple[float, float], other: tuple[float, float], size: tuple[float, float]) -> bool:
    return abs(one[0] - other[0]) < size[0] and abs(one[1] - other[1]) < size[1]


def test_sources_stand_above_and_boxes_do_not_overlap() -> None:
    size = (50.0, 20.0)
    edges = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("a", "d"), ("e", "d")]
    layout = lay_out(dict.fromkeys("abecd", size), edges)
    for one, other in edges:
        assert layout.boxes[one][1] < layout.boxes[other][1]
    for one, other in itertools.combinations("abcde", 2):
        assert not overlap(layout.boxes[one], layout.boxes[other], size)
    assert all(x - 25 >= 0 and x + 25 <= layout.width for x, _ in layout.boxes.values())


def test_a_long_edge_goes_around_the_boxes_between() -> None:
    edges = [("a", "b"), ("b", "c"), ("a", "c")]
    layout = lay_out(dict.fromkeys("abc", (50.0, 20.0)), edges)
    points = layout.edges[2]
    assert len(points) == 3
    assert abs(points[1][0] - layout.boxes["b"][0]) > 25


def test_a_source_of_a_deep_node_stands_right_above_it() -> None:
    layout = lay_out(dict.fromkeys("abcs", (50.0, 20.0)), [("a", "b"), ("b", "c"), ("s", "c")])
    assert layout.boxes["s"][1] == layout.boxes["b"][1]


def test_nothing_and_one_box() -> None:
    assert lay_out({}, []).boxes == {}
    assert lay_out({"a": (50.0, 20.0)}, []).boxes == {"a": (25.0, 10.0)}

import pytest

from graphopt.core.coco import COCO_CLASSES
from graphopt.core.errors import MissingBackendError
from graphopt.exporters.mmdet import classes
from graphopt.exporters.mmdet.classes import class_names, class_names_of


def dataset(**settings: object) -> dict[str, object]:
    return {"test_dataloader": {"dataset": settings}}


def test_the_configuration_names_them_first() -> None:
    head = {"model": {"bbox_head": {"num_classes": 2}}}
    assert class_names({**head, **dataset(metainfo={"classes": ("a", "b")})}) == ("a", "b")
    assert class_names({**head, "metainfo": {"CLASSES": ["a", "b"]}}) == ("a", "b")
    assert class_names({**head, "data": {"test": {"classes": ("a", "b")}}}) == ("a", "b")
    assert class_names({**head, "classes": ("a", "b")}) == ("a", "b")


def test_one_class_may_be_a_string() -> None:
    assert class_names({"model": {"bbox_head": {"num_classes": 1}}, "classes": "cat"}) == ("cat",)


def test_names_that_are_not_as_many_as_the_network_has_are_passed_over() -> None:
    settings = {"model": {"roi_head": {"bbox_head": [{"num_classes": 3}]}}, "classes": ("a", "b")}
    assert class_names(settings) == ("class 0", "class 1", "class 2")


@pytest.mark.mmdet
def test_a_data_set_of_mmdet_names_them_where_the_configuration_does_not() -> None:
    def found(kind: str, count: int) -> tuple[str, ...]:
        return class_names({"model": {"bbox_head": {"num_classes": count}}, **dataset(type=kind)})

    assert found("CityscapesDataset", 8)[:2] == ("person", "rider")
    assert found("mmdet.VOCDataset", 20)[0] == "aeroplane"
    assert found("CocoDataset", 80) == COCO_CLASSES
    assert len(set(found("LVISV1Dataset", 1203))) == 1203
    assert found("NoSuchDataset", 2) == ("class 0", "class 1")
    assert found("not a name", 80) == COCO_CLASSES


def test_without_mmdet_the_names_of_coco_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingBackendError("mmdet")

    monkeypatch.setattr(classes, "packaged_configs", missing)
    settings = {"model": {"bbox_head": {"num_classes": 80}}, **dataset(type="CocoDatasetOfMine")}
    assert class_names(settings) == COCO_CLASSES


@pytest.mark.parametrize(
    ("meta", "names"),
    [
        ({}, ()),
        ({"CLASSES": ("a", "b")}, ("a", "b")),
        ({"dataset_meta": {"classes": ["a"]}}, ("a",)),
        ({"dataset_meta": "<object>", "CLASSES": ["a"]}, ("a",)),
        ({"CLASSES": [1, 2]}, ()),
    ],
)
def test_names_in_the_meta_data_of_a_checkpoint(meta: dict[str, object], names: tuple[str, ...]) -> None:
    assert class_names_of({"meta": meta, "state_dict": None}) == names
    assert class_names_of({"meta": "<object>"}) == ()

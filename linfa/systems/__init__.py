"""What evolves."""

from linfa.systems.full import Full
from linfa.systems.infinite_width import InfiniteWidth
from linfa.systems.interface import AbstractSystem
from linfa.systems.reduction import Reduction
from linfa.systems.teacher_student import TeacherStudent
from linfa.systems.width_free import WidthFree

__all__ = ["AbstractSystem", "Full", "InfiniteWidth", "Reduction", "TeacherStudent", "WidthFree"]

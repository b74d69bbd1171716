"""Teacher and student: online learning of a two-layer network in the limit of many inputs, by its order parameters.

A student Σ_k v_k g(w_k·x/√N) learns a teacher Σ_m A_m g(B_m·x/√N) from a fresh Gaussian x at every step; what comes
back to its hidden layer is whatever a rule makes of the error. For N → ∞ the overlaps of the weights obey closed
differential equations (Saad & Solla 1995; with feedback alignment Refinetti, d'Ascoli, Ohana & Goldt 2021).

`TeacherStudent`         the equations (`solve`) and their twin, the online run at finite N (`simulate`)
`Erf`, `ReLU`, `Linear`  the activations, with the Gaussian integrals I_2, I_3, I_4, J_2
`recovery_probability`   how often random signs of the feedback let the student become the teacher
"""

from linfa.systems.teacher_student.activation import AbstractActivation
from linfa.systems.teacher_student.erf import Erf
from linfa.systems.teacher_student.linear import Linear
from linfa.systems.teacher_student.moments import Moments, Overlaps, moments
from linfa.systems.teacher_student.recovery import recovery_probability, sign_patterns
from linfa.systems.teacher_student.relu import ReLU
from linfa.systems.teacher_student.system import TeacherStudent

__all__ = [
    "AbstractActivation",
    "Erf",
    "Linear",
    "Moments",
    "Overlaps",
    "ReLU",
    "TeacherStudent",
    "moments",
    "recovery_probability",
    "sign_patterns",
]

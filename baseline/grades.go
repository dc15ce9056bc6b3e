package baseline

import "github.com/exeat/exeat/flow"

// gradeOrder returns every grade at the place of its bit, best first.
func gradeOrder() [7]flow.Grade {
	return [...]flow.Grade{
		flow.GradeVerified, flow.GradeNoSNI, flow.GradeSNIDiffers, flow.GradeCaptured,
		flow.GradeIPLiteral, flow.GradeNotTLS, flow.GradeHidden,
	}
}

// gradeBit returns the set of g alone, or the empty set if there is no such
// grade.
func gradeBit(g flow.Grade) GradeSet {
	for i, known := range gradeOrder() {
		if g == known {
			return 1 << i
		}
	}
	return 0
}

// Of returns the set of the given grades. The empty grade and unknown ones are
// in no set.
func Of(grades ...flow.Grade) GradeSet {
	var s GradeSet
	for _, g := range grades {
		s |= gradeBit(g)
	}
	return s
}

// Has reports whether g is in s.
func (s GradeSet) Has(g flow.Grade) bool { return s&gradeBit(g) != 0 }

// With returns s and g.
func (s GradeSet) With(g flow.Grade) GradeSet { return s | gradeBit(g) }

// Without returns s less g.
func (s GradeSet) Without(g flow.Grade) GradeSet { return s &^ gradeBit(g) }

// Grades returns what is in s, best first.
func (s GradeSet) Grades() []flow.Grade {
	var grades []flow.Grade
	for i, g := range gradeOrder() {
		if s&(1<<i) != 0 {
			grades = append(grades, g)
		}
	}
	return grades
}

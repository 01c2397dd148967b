package batch

import (
	"context"
	"errors"
	"time"
)

// stateName is what the state is called among what can stall a task: in the status, and as a metric's label.
const stateName = "state"

// whenRoom calls do, again and again for as long as it finds no room on the state's disk. Any other error ends it: a write whose outcome is not known is never repeated here.
func (t *Task) whenRoom(ctx context.Context, do func() error) error {
	var outcome error
	waited, failed := false, t.stalled(stateName)
	err := retry(ctx, defaultBackoff, func() error {
		outcome = do()
		if _, full := errors.AsType[*FullError](outcome); full {
			return outcome
		}
		return nil
	}, func(err error, wait time.Duration) {
		waited = true
		failed(err, wait)
	})
	if err != nil {
		return errors.Join(err, outcome)
	}
	if waited {
		t.flowing(stateName)
	}
	return outcome
}

// patientPlans appends plans when there is room for them. Until then no batch begins, so that nothing is published that could not be committed.
type patientPlans struct {
	Plans
	task *Task
}

// Append is documented at [Plans].
func (p patientPlans) Append(ctx context.Context, plan *Plan) (won *Plan, err error) {
	err = p.task.whenRoom(ctx, func() error {
		won, err = p.Plans.Append(ctx, plan)
		return err
	})
	return won, err
}

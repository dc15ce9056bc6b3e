package record_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/record"
)

func TestSlowSubscriberIsToldWhatItMissed(t *testing.T) {
	var hub record.Hub
	events, cancel := hub.Subscribe(2)
	defer cancel()
	for range 5 {
		hub.Publish(record.Event{Flow: &flow.Flow{ID: uuid.New()}})
	}
	<-events
	<-events
	hub.Publish(record.Event{Flow: &flow.Flow{ID: uuid.New()}})
	if e := <-events; e.Missed != 3 {
		t.Errorf("missed %d, want 3", e.Missed)
	}
	if e := <-events; e.Flow == nil {
		t.Error("the event after the gap did not come")
	}
	cancel()
	cancel()
	if _, open := <-events; open {
		t.Error("the channel is open after cancel")
	}
	hub.Publish(record.Event{})
}

package main

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"time"
)

// How far a foretold instant may lie from the first refusal.
const tolerance = time.Second

// What came of comparing predictions with calls.
type result struct {
	// Calls of which it was foretold what happened; refusals that came at the foretold instant.
	asForetold, inTime int
	// Calls about which nothing was foretold; refusals that were foretold because an ended anchor may stand before its
	// twin, where it did not.
	unknown, inVain int
	// How many predictions give each reason.
	reasons map[string]int
	faults  []string
}

// A run of equal predictions counts as one refusal.
type foretold struct {
	client *client
	from   int64
}

func compare(clients []*client, end time.Time) *result {
	result := &result{reasons: map[string]int{}}
	inTime, inVain := map[foretold]bool{}, map[foretold]bool{}
	for _, client := range clients {
		fault := func(at interval, format string, values ...any) {
			text := fmt.Sprintf("%s at %s: ", client.name, at.from.Format("15:04:05.000")) + fmt.Sprintf(format, values...)
			result.faults = append(result.faults, text)
		}
		if len(client.predictions) < 10 {
			fault(interval{end, end}, "only %d predictions", len(client.predictions))
			continue
		}
		for _, call := range client.calls {
			client.compareCall(call, result, fault)
		}
		for _, prediction := range client.predictions {
			client.comparePrediction(prediction, end, fault, inTime, inVain)
			if prediction.Refusal != nil {
				result.reasons[*prediction.Refusal]++
			}
		}
	}
	result.inTime, result.inVain = len(inTime), len(inVain)
	return result
}

type report = func(at interval, format string, values ...any)

// CompareCall looks for what was said at about the time of the call.
func (c *client) compareCall(call call, result *result, fault report) {
	if c.hasBoundary(call.from.Add(-tolerance), call.to.Add(tolerance)) {
		return
	}
	said := c.nearest(call.interval)
	switch {
	case said == nil:
		return
	case said.Accepted == nil:
		result.unknown++
		if !c.isUnread && c.endedIssuer(said.to) == nil {
			fault(call.interval, "nothing is foretold, for no reason")
		}
	case *said.Accepted == call.isRefused():
		fault(call.interval, "accepted is foretold as %v (%s), the answer is %d %s", *said.Accepted, said.reason(), call.status, call.code)
	default:
		result.asForetold++
		isMalformed := call.code == "invalid_certificate"
		if call.isRefused() && isMalformed != (said.reason() == "authority_key_identifier") {
			fault(call.interval, "%s is foretold, the answer is %s", said.reason(), call.code)
		}
	}
}

// Nearest is a prediction of about the time of a call, if nothing may have changed between them.
func (c *client) nearest(at interval) *prediction {
	var nearest *prediction
	for index := range c.predictions {
		said := &c.predictions[index]
		distance := said.from.Sub(at.from).Abs()
		if distance < 2*time.Second && (nearest == nil || distance < nearest.from.Sub(at.from).Abs()) {
			nearest = said
		}
	}
	if nearest == nil {
		return nil
	}
	from, to := nearest.from, at.to
	if at.from.Before(from) {
		from, to = at.from, nearest.to
	}
	if c.hasBoundary(from, to) {
		return nil
	}
	return nearest
}

// ComparePrediction looks for the refusal that is foretold.
func (c *client) comparePrediction(said prediction, end time.Time, fault report, inTime, inVain map[foretold]bool) {
	if said.Accepted == nil || c.isUnread {
		return
	}
	refused := c.firstAfter(said.from, true)
	if said.RefusedFrom == nil {
		if *said.Accepted && refused != nil {
			fault(said.interval, "no refusal is foretold, one came at %s", refused.from.Format("15:04:05.000"))
		}
		return
	}
	instant := time.Unix(*said.RefusedFrom, 0)
	maybeInVain := said.reason() == "anchor_expired" && c.endedIssuer(instant) != nil
	switch {
	case !*said.Accepted:
		accepted := c.firstAfter(instant.Add(tolerance), false)
		if !maybeInVain && accepted != nil && accepted.to.Before(said.from) {
			fault(said.interval, "acceptance is said to have ended at %s, a call passed at %s", instant.Format("15:04:05"), accepted.from.Format("15:04:05.000"))
		}
	case refused != nil && refused.to.Before(instant.Add(-tolerance)):
		fault(said.interval, "a refusal is foretold for %s, it came at %s", instant.Format("15:04:05"), refused.from.Format("15:04:05.000"))
	case end.Before(instant.Add(tolerance)):
	case refused != nil && !refused.from.After(instant.Add(tolerance)):
		inTime[foretold{c, *said.RefusedFrom}] = true
	case maybeInVain:
		inVain[foretold{c, *said.RefusedFrom}] = true
	default:
		fault(said.interval, "a refusal is foretold for %s (%s), none came", instant.Format("15:04:05"), said.reason())
	}
}

func (p *prediction) reason() string {
	if p.Refusal == nil {
		return "no reason"
	}
	return *p.Refusal
}

func (c *client) firstAfter(instant time.Time, isRefused bool) *call {
	for index := range c.calls {
		if call := &c.calls[index]; call.to.After(instant) && call.isRefused() == isRefused {
			return call
		}
	}
	return nil
}

func (c *client) hasBoundary(from, to time.Time) bool {
	for _, boundary := range c.boundaries {
		if !boundary.Before(from) && !boundary.After(to) {
			return true
		}
	}
	return false
}

// EndedIssuer is an anchor in effect that has signed the leaf, and has ended at an instant.
func (c *client) endedIssuer(instant time.Time) *x509.Certificate {
	leaf := c.chain[0].certificate
	for _, anchor := range c.anchors {
		hasSigned := bytes.Equal(anchor.RawSubject, leaf.RawIssuer) && leaf.CheckSignatureFrom(anchor) == nil
		if hasSigned && !anchor.NotAfter.After(instant) {
			return anchor
		}
	}
	return nil
}

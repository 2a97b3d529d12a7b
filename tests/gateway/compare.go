package main

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"strings"
	"time"
)

// How far a predicted instant may lie from the first refusal.
const (
	tolerance = time.Second
	clock     = "15:04:05.000"
	date      = "2 Jan 15:04:05"
)

// What came of comparing predictions with calls.
type result struct {
	// Calls of which it was predicted what happened; refusals that came at the predicted instant.
	asPredicted, inTime int
	// Calls of which `check --at` predicted what happened.
	asAsked int
	// Calls about which nothing was predicted; refusals that were predicted because an ended anchor may stand before its
	// twin, where it did not.
	unknown, inVain int
	// How many predictions give each reason.
	reasons map[string]int
	faults  []string
}

// A run of equal predictions counts as one refusal.
type predicted struct {
	client *client
	from   int64
}

func compare(clients []*client, end time.Time) *result {
	result := &result{reasons: map[string]int{}}
	inTime, inVain := map[predicted]bool{}, map[predicted]bool{}
	for _, client := range clients {
		isDescribed := false
		fault := func(at time.Time, format string, values ...any) {
			if !isDescribed {
				isDescribed = true
				result.faults = append(result.faults, client.describe())
			}
			text := fmt.Sprintf("%s at %s: ", client.name, at.Format(clock)) + fmt.Sprintf(format, values...)
			result.faults = append(result.faults, text)
		}
		if len(client.predictions) < 10 {
			fault(end, "only %d predictions", len(client.predictions))
			continue
		}
		for _, call := range client.calls {
			client.compareCall(call, nearest(client.predictions, call.at), result, &result.asPredicted, fault)
			client.compareCall(call, nearest(client.asked, call.at), result, &result.asAsked, fault)
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

type report = func(at time.Time, format string, values ...any)

// CompareCall looks at what was said of about the time of the call.
func (c *client) compareCall(call call, said *prediction, result *result, asPredicted *int, fault report) {
	switch {
	case said == nil || c.hasBoundary(call.at.Add(-tolerance), call.at.Add(tolerance)):
		return
	// Nothing may have changed between the two.
	case c.hasBoundary(said.from, said.to) || c.hasBoundary(said.to, call.at) || c.hasBoundary(call.at, said.from):
		return
	case said.Accepted == nil:
		result.unknown++
		if !c.isUnread && c.endedIssuer(said.to) == nil {
			fault(call.at, "nothing is predicted, for no reason")
		}
	case *said.Accepted == call.isRefused():
		fault(call.at, "accepted is predicted as %v (%s), the answer is %d %s", *said.Accepted, said.reason(), call.status, call.code)
	default:
		*asPredicted++
		isMalformed := call.code == "invalid_certificate"
		if call.isRefused() && isMalformed != (said.reason() == "authority_key_identifier") {
			fault(call.at, "%s is predicted, the answer is %s", said.reason(), call.code)
		}
	}
}

// Nearest is the prediction for an instant nearest to this one, if it is near at all.
func nearest(predictions []prediction, instant time.Time) (nearest *prediction) {
	for index := range predictions {
		said := &predictions[index]
		distance := said.from.Sub(instant).Abs()
		if distance < 2*time.Second && (nearest == nil || distance < nearest.from.Sub(instant).Abs()) {
			nearest = said
		}
	}
	return nearest
}

// ComparePrediction looks for the refusal that is predicted.
func (c *client) comparePrediction(said prediction, end time.Time, fault report, inTime, inVain map[predicted]bool) {
	if said.Accepted == nil || c.isUnread || c.hasBoundary(said.from, said.to) {
		return
	}
	refused, before := c.firstRefusal(said.from)
	if said.RefusedFrom == nil {
		if *said.Accepted && refused != nil {
			fault(said.from, "no refusal is predicted, one came at %s", refused.at.Format(clock))
		}
		return
	}
	instant := time.Unix(*said.RefusedFrom, 0)
	maybeInVain := c.endedIssuer(instant) != nil
	switch {
	case !*said.Accepted:
		passed := c.lastAccepted(said.from)
		if !maybeInVain && passed != nil && passed.at.After(instant.Add(tolerance)) {
			fault(said.from, "acceptance is said to have ended at %s, a call passed at %s", instant.Format(clock), passed.at.Format(clock))
		}
	case refused != nil && refused.at.Before(instant.Add(-tolerance)):
		fault(said.from, "a refusal is predicted for %s, it came at %s", instant.Format(clock), refused.at.Format(clock))
	case end.Before(instant.Add(2 * tolerance)):
	// Between two calls it may have come at any instant.
	case refused != nil && (before == nil || before.at.Before(instant.Add(tolerance))):
		inTime[predicted{c, *said.RefusedFrom}] = true
	case maybeInVain && said.reason() == "anchor_expired":
		inVain[predicted{c, *said.RefusedFrom}] = true
	default:
		fault(said.from, "a refusal is predicted for %s (%s), none came then", instant.Format(clock), said.reason())
	}
}

func (p *prediction) reason() string {
	if p.Refusal == nil {
		return "no reason"
	}
	return *p.Refusal
}

// FirstRefusal is the first one after an instant, with the call before it.
func (c *client) firstRefusal(after time.Time) (refused, before *call) {
	for index := range c.calls {
		call := &c.calls[index]
		if call.at.After(after) && call.isRefused() {
			return call, before
		}
		before = call
	}
	return nil, nil
}

func (c *client) lastAccepted(until time.Time) (last *call) {
	for index := range c.calls {
		if call := &c.calls[index]; call.at.Before(until) && !call.isRefused() {
			last = call
		}
	}
	return last
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

func (c *client) describe() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s presents", c.name)
	show := func(certificate *x509.Certificate) {
		fmt.Fprintf(&text, " [%s, key %x, by %s, key %x, %s to %s]",
			certificate.Subject.CommonName, certificate.SubjectKeyId[:2], certificate.Issuer.CommonName, append(certificate.AuthorityKeyId, 0, 0)[:2],
			certificate.NotBefore.Format(date), certificate.NotAfter.Format(date))
	}
	for _, issued := range c.chain {
		show(issued.certificate)
	}
	text.WriteString("; anchors")
	for _, anchor := range c.anchors {
		show(anchor)
	}
	return text.String()
}

package main

import (
	"errors"
	"flag"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const patienceSeconds = 300

// Go reads the clock without the C library, so this test advances Go's fake clock. A program in a synctest bubble
// starts in the year 2000, and its clock advances only while all its goroutines are blocked.
func TestRotation(t *testing.T) {
	library, style, scope, later := flag.Arg(0), flag.Arg(1), flag.Arg(2), flag.Arg(3)
	ahead, err := time.ParseDuration(flag.Arg(4))
	must(err)
	now := time.Now()
	synctest.Test(t, func(*testing.T) {
		time.Sleep(time.Until(now))
		// A keep-alive connection has a goroutine that waits for the network, which stops the fake clock.
		client := &http.Client{Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true,
		}}
		first := assertion()
		credential := read(library, style, scope, client)
		waitForAnother(first)
		time.Sleep(ahead)
		say(map[string]string{"later": audienceFor(credential, later)})
	})
}

// waitForAnother waits in real time until the projected token has been replaced.
func waitForAnother(first string) {
	pause := syscall.NsecToTimespec((100 * time.Millisecond).Nanoseconds())
	for tries := 0; assertion() == first; tries++ {
		if tries > patienceSeconds*10 {
			must(errors.New("the projected token stayed as it was"))
		}
		_ = syscall.Nanosleep(&pause, nil)
	}
}

package main

import (
	"reflect"
	"syscall"
	"testing"
	"time"

	abcicli "github.com/cometbft/cometbft/abci/client"
	"github.com/cometbft/cometbft/abci/example/kvstore"
	"github.com/cometbft/cometbft/proxy"
)

func TestSocketIsFlushedByTheClock(t *testing.T) {
	made, err := clients{proxy.NewRemoteClientCreator("unix:///none", "socket", false)}.NewABCIClient()
	if err != nil {
		t.Fatal(err)
	}
	timer := reflect.ValueOf(made).Elem().FieldByName("flushTimer").Elem()
	if waits := time.Duration(timer.FieldByName("dur").Int()); waits != flushAfter {
		t.Fatalf("the timer waits for %s", waits)
	}
}

func TestNoTimerRunsOn(t *testing.T) {
	for range 4 {
		creator := clients{proxy.NewRemoteClientCreator("unix:///none", "socket", false)}
		if _, err := creator.NewABCIClient(); err != nil {
			t.Fatal(err)
		}
	}
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		t.Fatal(err)
	}
	if used := time.Duration(after.Utime.Nano() - before.Utime.Nano()); used > 100*time.Millisecond {
		t.Fatalf("idle clients took %s of a core", used)
	}
}

func TestOtherClientsAreLeftAlone(t *testing.T) {
	creator := proxy.NewLocalClientCreator(kvstore.NewInMemoryApplication())
	made, err := clients{creator}.NewABCIClient()
	if err != nil {
		t.Fatal(err)
	}
	if flushByClock(made) {
		t.Fatal("a local client has no timer")
	}
	if flushByClock(abcicli.NewGRPCClient("none", false)) {
		t.Fatal("nor has one of gRPC")
	}
}

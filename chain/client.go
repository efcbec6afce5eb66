package main

import (
	"fmt"
	"reflect"
	"time"
	"unsafe"

	abcicli "github.com/cometbft/cometbft/abci/client"
	"github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/libs/timer"
	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/proxy"
)

// flushAfter is how long a request to the application may wait for others, before it is sent.
const flushAfter = 10 * time.Millisecond

// newNode is node.DefaultNewNode but for the application's clients.
func newNode(c *config.Config, logger log.Logger) (*node.Node, error) {
	key, err := p2p.LoadOrGenNodeKey(c.NodeKeyFile())
	if err != nil {
		return nil, fmt.Errorf("the node's key %s: %w", c.NodeKeyFile(), err)
	}
	return node.NewNode(
		c,
		privval.LoadOrGenFilePV(c.PrivValidatorKeyFile(), c.PrivValidatorStateFile()),
		key,
		clients{proxy.DefaultClientCreator(c.ProxyApp, c.ABCI, c.DBDir())},
		node.DefaultGenesisDocProviderFunc(c),
		config.DefaultDBProvider,
		node.DefaultMetricsProvider(c.Instrumentation),
		logger,
	)
}

// clients makes CometBFT's own clients, whose sockets are flushed by the clock.
type clients struct{ proxy.ClientCreator }

func (c clients) NewABCIClient() (abcicli.Client, error) {
	client, err := c.ClientCreator.NewABCIClient()
	if err == nil {
		flushByClock(client)
	}
	return client, err
}

// flushByClock gives a socket's client, before it starts, a timer that waits for flushAfter, and says whether it did.
//
// CometBFT gives it one of 20 nanoseconds, where its constant is called milliseconds (abci/client/socket_client.go): a
// flush goes with each request, and while a large one is being written the timer fires all the time, on a core of its own.
// The field is not exported, so it is set by its name; client_test.go fails when another version has no such field.
func flushByClock(client abcicli.Client) bool {
	value := reflect.ValueOf(client)
	if value.Kind() != reflect.Pointer || value.Elem().Kind() != reflect.Struct {
		return false
	}
	field := value.Elem().FieldByName("flushTimer")
	if !field.IsValid() || field.Type() != reflect.TypeFor[*timer.ThrottleTimer]() {
		return false
	}
	held := (**timer.ThrottleTimer)(unsafe.Pointer(field.UnsafeAddr()))
	(*held).Stop() // it has fired already, and would for ever
	*held = timer.NewThrottleTimer("socketClient", flushAfter)
	return true
}

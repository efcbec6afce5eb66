// The consortium's consensus engine: CometBFT's own commands, with the version that go.sum pins.
//
// Fondaco talks to it over a unix socket (ABCI) and its RPC; nothing of Fondaco is linked in. Of CometBFT's commands
// these are kept: making files, running, and looking at and rolling back a stopped node.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/cometbft/cometbft/cmd/cometbft/commands"
	"github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/libs/cli"
)

// collectAt is how much a heap may grow, in percent, before it is collected: CometBFT's is small and its garbage much,
// so Go's 100 has it collect all the time. GOGC in the environment says otherwise.
const collectAt = 400

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	root := commands.RootCmd
	root.AddCommand(
		commands.InitFilesCmd,
		commands.ShowNodeIDCmd,
		commands.RollbackStateCmd,
		commands.InspectCmd,
		commands.VersionCmd,
		commands.NewRunNodeCmd(newNode),
	)
	home := os.ExpandEnv(filepath.Join("$HOME", config.DefaultCometDir))
	if err := cli.PrepareBaseCmd(root, "CMT", home).Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

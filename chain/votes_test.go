package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
)

// What the kernel and the ledger say of votes, by the file that their tests read too.
type known struct {
	Signatures []struct {
		Key, Signature, Message string
		Taken                   bool
	}
	Commits []struct {
		Chain, Block, Parts, Address, Signature, SignBytes, Hash string
		Height                                                   int64
		Round                                                    int32
		Total                                                    uint32
		Seconds, Nanos                                           int64
	}
}

func read(t *testing.T) known {
	data, err := os.ReadFile("../crates/kernel/vectors/votes.json")
	if err != nil {
		t.Fatal(err)
	}
	var found known
	if err := json.Unmarshal(data, &found); err != nil {
		t.Fatal(err)
	}
	if len(found.Signatures) == 0 || len(found.Commits) == 0 {
		t.Fatal("the file is empty")
	}
	return found
}

func raw(t *testing.T, text string) []byte {
	found, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestSignaturesAreJudgedAsCometBFTJudgesThem(t *testing.T) {
	for number, one := range read(t).Signatures {
		key := ed25519.PubKey(raw(t, one.Key))
		if key.VerifySignature(raw(t, one.Message), raw(t, one.Signature)) != one.Taken {
			t.Errorf("case %d is judged otherwise", number)
		}
	}
}

func TestVotesOfAnyTimeAreWrittenAsCometBFTWritesThem(t *testing.T) {
	for number, one := range read(t).Commits {
		at := time.Unix(one.Seconds, one.Nanos).UTC()
		block := types.BlockID{
			Hash:          raw(t, one.Block),
			PartSetHeader: types.PartSetHeader{Total: one.Total, Hash: raw(t, one.Parts)},
		}
		place := types.CommitSig{
			BlockIDFlag:      types.BlockIDFlagCommit,
			ValidatorAddress: raw(t, one.Address),
			Timestamp:        at,
			Signature:        raw(t, one.Signature),
		}
		if err := place.ValidateBasic(); err != nil {
			t.Error(number, err)
		}
		commit := types.Commit{Height: one.Height, Round: one.Round, BlockID: block, Signatures: []types.CommitSig{place}}
		if !bytes.Equal(commit.Hash(), raw(t, one.Hash)) {
			t.Errorf("commit %d has another hash", number)
		}
		vote := cmtproto.Vote{
			Type: cmtproto.PrecommitType, Height: one.Height, Round: one.Round, BlockID: block.ToProto(), Timestamp: at,
		}
		if !bytes.Equal(types.VoteSignBytes(one.Chain, &vote), raw(t, one.SignBytes)) {
			t.Errorf("vote %d is signed over other bytes", number)
		}
	}
}

package launch

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
)

// Identify returns the process that has pid now.
func Identify(pid int) (Process, error) {
	p, _, err := stat(pid)
	return p, err
}

// Inside reports whether the process with pid was started, directly or through
// others, by one of launchers: processes that called Run, and that count as
// outside themselves. It walks the parents in /proc. Run makes its process the
// parent of whatever its tree leaves behind, so forking twice leads nowhere.
//
// A request that comes from inside must be refused. Any error means that it
// can't be told and should be refused as well: a process that is gone may have
// left its connection to another. What Inside can't see: a process that outlived
// its launcher, and one that asked something outside (cron, systemd, the Docker
// daemon) to start it. On systems other than Linux the error is ErrNoTree.
func Inside(pid int, launchers []Process) (bool, error) {
	p, parent, err := stat(pid)
	if err != nil {
		return false, err
	}
	for range maxDepth {
		if parent <= 0 {
			return false, nil
		}
		up, next, err := stat(parent)
		if err != nil {
			return false, fmt.Errorf("launch: the parents of process %d changed meanwhile: %w", pid, err)
		}
		if up.Start > p.Start {
			return false, fmt.Errorf("launch: process %d is younger than its child %d", up.PID, p.PID)
		}
		if slices.Contains(launchers, up) {
			return true, nil
		}
		p, parent = up, next
	}
	return false, fmt.Errorf("launch: process %d has over %d ancestors", pid, maxDepth)
}

// stat reads a process's start time and its parent from /proc/PID/stat, fields
// 22 and 4 of proc_pid_stat(5). The second field is the program's name in
// parentheses and may hold anything, parentheses too.
func stat(pid int) (p Process, parent int, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Process{}, 0, fmt.Errorf("launch: %w", err)
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	const ppid, starttime = 4 - 3, 22 - 3
	if len(fields) <= starttime {
		return Process{}, 0, fmt.Errorf("launch: /proc/%d/stat is not as expected", pid)
	}
	parent, err = strconv.Atoi(string(fields[ppid]))
	if err != nil {
		return Process{}, 0, fmt.Errorf("launch: /proc/%d/stat: %w", pid, err)
	}
	start, err := strconv.ParseUint(string(fields[starttime]), 10, 64)
	if err != nil {
		return Process{}, 0, fmt.Errorf("launch: /proc/%d/stat: %w", pid, err)
	}
	return Process{PID: pid, Start: start}, parent, nil
}

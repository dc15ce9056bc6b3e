package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of times in /proc/PID/stat: USER_HZ is 100 on every
// architecture that Go runs on.
const clockTick = time.Second / 100

// usage is what a process holds and has used.
type usage struct {
	resident    int64 // bytes
	descriptors int
	cpu         time.Duration // user and system
}

// usageOf reads the usage of a process from Linux's /proc.
func usageOf(pid int) (usage, error) {
	var u usage
	var err error
	dir := fmt.Sprintf("/proc/%d/", pid)
	stat, err1 := os.ReadFile(dir + "stat")
	status, err2 := os.ReadFile(dir + "status")
	fds, err3 := os.ReadDir(dir + "fd")
	if err := errors.Join(err1, err2, err3); err != nil {
		return u, err
	}
	u.descriptors = len(fds)
	if u.cpu, err = parseCPU(string(stat)); err != nil {
		return u, err
	}
	u.resident, err = parseResident(string(status))
	return u, err
}

// parseCPU reads utime and stime, fields 14 and 15 of proc_pid_stat(5). The
// second field is a name in parentheses that may hold anything.
func parseCPU(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, errors.New("/proc/PID/stat is too short")
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * clockTick, errors.Join(err1, err2)
}

// parseResident reads VmRSS of proc_pid_status(5).
func parseResident(status string) (int64, error) {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("/proc/PID/status has no VmRSS")
}

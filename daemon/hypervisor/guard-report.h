/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the thaw guard and who started it say to each other over two pipes, line by line.
 *
 * To the guard: "freeze", then "thaw". The end of the pipe means "thaw", too: so it is when the daemon dies.
 * From the guard, JSON objects, by their state:
 *
 *   ready   the agent answers, and the guest is thawed
 *   unable  reason: no agent, or it refuses; nothing is frozen that the guard had to thaw, or "thawed" follows
 *   frozen  file_systems
 *   thawed  proven by the agent's own word; held: it was frozen from "frozen" until "thaw" came; frozen_us; reason: why not held
 *   stuck   reason: it could not be thawed in all the time that it was tried
 */
#pragma once

#include "bk-json.h"

#define BK_GUARD_FREEZE "freeze"
#define BK_GUARD_THAW "thaw"

/* How long the guard waits for the agent's answers. */
#define BK_GUARD_OPEN_MS 5000
#define BK_GUARD_FREEZE_MS 30000
#define BK_GUARD_THAW_MS 10000

typedef struct {
  char *state;
  char *reason;
  uint64_t file_systems;
  uint64_t frozen_us; /* at most so long: from the freeze command until the thaw was answered */
  bool held;
} BkGuardReport;

extern const BkStruct bk_guard_report_struct;
static inline void bk_guard_report_free (BkGuardReport *report) { bk_struct_free (&bk_guard_report_struct, report); }
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkGuardReport, bk_guard_report_free)

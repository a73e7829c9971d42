/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What `doctor` makes of what was seen: facts to findings, each with what to do about it. Pure; any thread.
 *
 * Each function appends to @findings (BkFinding). Facts are the caller's, and copied.
 */
#pragma once

#include "backend.h"

/* (transfer full) */
GPtrArray *bk_findings_new (void);
/* The worst state among them: "ok" when there is none. */
const char *bk_findings_state (GPtrArray *findings);

/* A folder that is written to. */
typedef struct {
  const char *subject, *check, *path;
  const char *failure;  /* why nothing can be written there; NULL = it can */
  const char *remedy;   /* what to do then */
  uint64_t free_bytes;
  uint64_t least;       /* with less it is a problem */
  uint64_t good;        /* with less it is a warning */
  const char *more;     /* how to have more room, in words */
} BkFolderFacts;
void bk_findings_add_folder (GPtrArray *findings, const BkFolderFacts *facts);

/* A program that the daemon starts. */
typedef struct {
  const char *name;
  const char *path;    /* NULL = not found */
  const char *version; /* NULL = it does not say */
  const char *needed;  /* what does not work without it, in words */
  const char *package; /* that has it */
  bool essential;      /* most does not work without it */
} BkProgramFacts;
void bk_findings_add_program (GPtrArray *findings, const BkProgramFacts *facts);

/* @newest: the latest time in the catalog, or 0. Microseconds. */
void bk_findings_add_clock (GPtrArray *findings, int64_t now, int64_t newest);

/* @jobs: BkJobInfo that are paused. */
void bk_findings_add_jobs (GPtrArray *findings, GPtrArray *jobs);

/* @writable: NULL, or why nothing can be written to its folder. */
void bk_findings_add_repository (GPtrArray *findings, const BkRepositoryInfo *repository, const char *unwritable);

/* What was seen of a VM. */
typedef struct {
  const BkVmInfo *vm;

  /* the QMP socket; not with libvirt */
  bool socket_there;
  const char *socket_owner;   /* of the file */
  const char *socket_failure; /* why it may not be opened; NULL = it may */
  const char *user;           /* that the daemon runs as */

  BkLink link;
  const BkVmState *state;  /* NULL = it could not be looked at */
  const char *failure;     /* why */
  const char *confinement; /* AppArmor's profile of the QEMU process, with its mode; NULL = none or not known */

  const char *scratch; /* folder */
  uint64_t scratch_free;
  bool scratch_tried;
  const char *scratch_failure;

  const char *instance;   /* of the daemon: part of its names */
  GPtrArray *checkpoints; /* BkCheckpointInfo of this VM */

  bool agent_asked;
  const char *agent_busy;    /* ID of the job because of which it was not asked */
  const char *agent_failure; /* why it does not answer */
  bool agent_frozen;
} BkVmFacts;
/* Socket, connection, version and features, AppArmor, scratch, disks and their bitmaps, agent. */
void bk_findings_add_vm (GPtrArray *findings, const BkVmFacts *facts);

/* @subject did not come to an end in @seconds. */
void bk_findings_add_silence (GPtrArray *findings, const char *subject, unsigned seconds);

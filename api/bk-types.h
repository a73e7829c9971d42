/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the REST API speaks of, as structs. Each has a BkStruct that reads, writes and frees it; the member
 * names in JSON are those of the tables in bk-types.c and are the public contract (api/openapi.yaml).
 *
 * Sizes and offsets are bytes. Times are microseconds since 1970 UTC, 0 = has not happened. Rates are bytes
 * per second, 0 = unlimited for a limit. All strings are UTF-8 and owned by their struct.
 */
#pragma once

#include "bk-json.h"

#define BK_TYPE(Type, prefix)                                                                                \
  extern const BkStruct prefix##_struct;                                                                     \
  static inline void prefix##_free (Type *value) { bk_struct_free (&prefix##_struct, value); }               \
  G_DEFINE_AUTOPTR_CLEANUP_FUNC (Type, prefix##_free)

/* Enumerations as words, NULL-terminated; also what OpenAPI and completion list. */
extern const char *const bk_job_states[];   /* queued preparing running paused finalizing completed partial failed cancelled */
extern const char *const bk_job_kinds[];    /* backup restore delete verify gc copy export */
extern const char *const bk_finding_states[]; /* ok warning problem: from good to bad */
extern const char *const bk_modes[];        /* auto push push-direct pull */
extern const char *const bk_levels[];       /* auto full incremental differential */
extern const char *const bk_quiesce[];      /* auto agent none */
extern const char *const bk_hook_failures[]; /* fail ignore */
extern const char *const bk_formats[];      /* raw qcow2 */
extern const char *const bk_syncs[];        /* full top none */
extern const char *const bk_source_errors[]; /* report stop */
extern const char *const bk_target_errors[]; /* report stop enospc */
extern const char *const bk_repo_types[];   /* dedup qcow2 */
extern const char *const bk_repo_encryptions[]; /* none passphrase key-file */
extern const char *const bk_export_states[]; /* beginning ready ending ended failed */
extern const char *const bk_export_results[]; /* success failed */

/* The body of an error, in a job or a disk. */
typedef struct {
  char *code;    /* wire name of a BkErrorCode */
  char *message; /* one line; says what to do where something can be done */
} BkProblem;
BK_TYPE (BkProblem, bk_problem)

/* (transfer full) */
BkProblem *bk_problem_new (const GError *error);

typedef struct {
  char *name;   /* as users know it */
  char *level;  /* full, incremental, differential */
  char *reason; /* why this level, or why this mode, in words */
  char *state;  /* queued running completed failed cancelled */
  uint64_t size; /* virtual size of the disk */
  uint64_t bytes_total;       /* to copy */
  uint64_t bytes_transferred; /* copied or zeroed so far */
  uint64_t bytes_zero;        /* of those, known to be zero */
  uint64_t bytes_stored;      /* taken by the result on its storage */
  /* For a dedup repository: of bytes_total, what is not as in the backup before, and what the repository had nowhere. */
  uint64_t bytes_different;
  uint64_t bytes_new;
  char *target;               /* where it goes: file, block device or NBD URI */
  BkProblem *error;
} BkJobDisk;
BK_TYPE (BkJobDisk, bk_job_disk)

/* Whether the guest's file systems were at rest at the point in time. */
typedef struct {
  bool quiesced;
  char *reason;          /* why not, in words */
  uint64_t file_systems; /* that were frozen */
  uint64_t frozen_ms;    /* at most so long */
  bool thawed;           /* the guest's agent has said so afterwards; false also when nothing was frozen */
} BkQuiesceInfo;
BK_TYPE (BkQuiesceInfo, bk_quiesce_info)

/* How a hook went, before or after the point in time. */
typedef struct {
  char *event;  /* before, after */
  char *state;  /* done, failed */
  char *reason; /* why it failed */
  char *output; /* the end of what it said */
  int64_t started_at;
  int64_t ended_at;
} BkHookRun;
BK_TYPE (BkHookRun, bk_hook_run)

typedef struct {
  char *name;
  char *state; /* waiting running done undone failed */
  int64_t started_at;
  int64_t ended_at;
} BkJobStep;
BK_TYPE (BkJobStep, bk_job_step)

typedef struct {
  char *id;
  char *kind;
  char *vm;
  char *state;
  char *mode;   /* push, push-direct; NULL for kinds without */
  char *reason; /* why this mode, when it was not the one asked for or auto chose it */
  char *repository; /* NULL with a target of its own */
  char *step;
  uint64_t speed; /* limit in force */
  int64_t created_at, started_at, ended_at;
  int64_t point_in_time; /* the instant that the backup holds */
  BkQuiesceInfo *quiesce; /* from the point in time on; NULL for kinds without one */
  uint64_t bytes_total, bytes_transferred, bytes_zero, bytes_stored, bytes_different, bytes_new; /* sums over the disks */
  uint64_t rate;       /* measured over the last seconds */
  int64_t eta_seconds; /* -1 = not known */
  char *backup_id;     /* of the backup that it makes, reads or deletes */
  char *checkpoint_id;
  GStrv actions; /* verbs allowed now: cancel pause resume speed */
  BkProblem *error;
  GPtrArray *disks; /* BkJobDisk */
  GPtrArray *steps; /* BkJobStep, in order */
  GPtrArray *hooks; /* BkHookRun, in order */
} BkJobInfo;
BK_TYPE (BkJobInfo, bk_job_info)

/* POST /v1/jobs with kind "backup": `backupctl start`. */
typedef struct {
  char *kind; /* "backup", or NULL for the same */
  char *id;   /* caller's own, or NULL */
  char *vm;
  GStrv disks;      /* NULL or empty = all writable disks with a medium */
  char *mode;       /* NULL = auto */
  char *level;      /* NULL = auto */
  char *since;      /* checkpoint ID or unambiguous prefix; for differential */
  char *repository; /* NULL = "default" */
  char *target;     /* instead of a repository: file, folder, block device, NBD URI */
  char *format;     /* of a target file: raw or qcow2 */
  uint64_t speed;
  char *quiesce;         /* NULL = auto */
  GStrv quiesce_mounts;  /* in the guest; NULL or empty = all */
  char *hook;            /* name of a program in the daemon's folder of hooks, or NULL */
  char *hook_failure;    /* of it before the point in time: NULL = fail */
  bool compress;
  bool force;       /* overwrite an existing target */
  char *sync;       /* NULL = full */
  char *on_source_error, *on_target_error;
  bool dry_run;
} BkBackupRequest;
BK_TYPE (BkBackupRequest, bk_backup_request)

/* POST /v1/jobs with kind "restore". */
typedef struct {
  char *kind; /* "restore" */
  char *id;
  char *backup;
  GStrv disks;  /* NULL = all */
  char *output; /* absolute path, or NBD URI for one disk */
  char *format; /* NULL = qcow2 for files named .qcow2, else raw */
  bool force;
  uint64_t speed;
  char *define;  /* name of a domain that is made of it; NULL = none */
  char *libvirt; /* URI where */
  bool keep_identity; /* it has the UUID and the MAC addresses of the old one */
} BkRestoreRequest;
BK_TYPE (BkRestoreRequest, bk_restore_request)

/* POST /v1/jobs with kind "verify": one backup, or a whole repository. */
typedef struct {
  char *kind; /* "verify" */
  char *id;
  char *backup;     /* either this */
  char *repository; /* or this */
  uint64_t speed;
} BkVerifyRequest;
BK_TYPE (BkVerifyRequest, bk_verify_request)

/* POST /v1/jobs with kind "gc": gives space back that no backup needs any more. */
typedef struct {
  char *kind; /* "gc" */
  char *id;
  char *repository;
  bool dry_run; /* only tell what would be freed: in bytes_total */
} BkGcRequest;
BK_TYPE (BkGcRequest, bk_gc_request)

/* POST /v1/jobs with kind "copy": a backup into another repository. */
typedef struct {
  char *kind; /* "copy" */
  char *id;
  char *backup;
  char *to; /* repository */
  uint64_t speed;
} BkCopyRequest;
BK_TYPE (BkCopyRequest, bk_copy_request)

/* What --dry-run answers. */
typedef struct {
  char *name;
  char *level;
  char *reason;
  uint64_t size;
  uint64_t bytes_estimated; /* to copy: dirty bytes, or the size */
  char *target;
  char *base_checkpoint; /* for increments */
} BkPlanDiskInfo;
BK_TYPE (BkPlanDiskInfo, bk_plan_disk_info)

typedef struct {
  char *vm;
  char *mode;
  char *reason;
  char *repository;
  GPtrArray *disks; /* BkPlanDiskInfo */
} BkPlanInfo;
BK_TYPE (BkPlanInfo, bk_plan_info)

typedef struct {
  char *name;      /* what --disks takes first */
  GStrv aliases;   /* further names that are accepted: drive ID, node name */
  char *qdev;      /* as in query-block */
  char *node;      /* format node */
  char *format;    /* driver of that node */
  char *file;      /* as QEMU names it */
  uint64_t size;
  char *class_name; /* disk class, "class" in JSON */
  bool selected;   /* part of a backup when --disks is left out */
  bool incremental; /* changes can be tracked over a restart of the VM */
  char *reason;    /* why not selected, or why not incremental; else NULL */
  char *iothread;
} BkDiskInfo;
BK_TYPE (BkDiskInfo, bk_disk_info)

typedef struct {
  char *name;
  char *qmp;   /* socket path; NULL for a domain of libvirt */
  char *libvirt; /* else its URI */
  char *domain;  /* the domain's name there */
  char *uuid;    /* and its UUID, which stays when it is renamed */
  char *agent; /* socket path or NULL */
  GHashTable *classes; /* disk name to class */
  char *state; /* running paused ... (QEMU's run state), shut off, connecting, busy, unreachable */
  char *reason; /* why it is unreachable */
  char *qemu_version;
  GPtrArray *disks; /* BkDiskInfo; only in the answer for one VM */
  GStrv jobs;       /* IDs of unfinished jobs */
  int64_t added_at;
  int64_t recorded_at; /* shut off: when its disks were seen last; only in the answer for one VM */
} BkVmInfo;
BK_TYPE (BkVmInfo, bk_vm_info)

/* One thing that `doctor` has looked at. */
typedef struct {
  char *subject; /* daemon, "repository NAME", "VM NAME" */
  char *check;   /* what was looked at, in a word or two */
  char *state;   /* ok, warning (something will not be as good as it could), problem (something does not work) */
  char *detail;  /* what was found */
  char *fix;     /* what to do; NULL when it is ok */
} BkFinding;
BK_TYPE (BkFinding, bk_finding)

typedef struct {
  char *version; /* of the daemon; NULL = it did not answer */
  char *state;   /* the worst of its findings */
  GPtrArray *findings; /* BkFinding, from the outside in */
} BkDiagnosis;
BK_TYPE (BkDiagnosis, bk_diagnosis)

/* A domain that libvirt has. */
typedef struct {
  char *name, *uuid;
  char *state;     /* running, paused, shut off, ... */
  bool persistent;
  char *vm;        /* name of the VM that it is here, or NULL */
} BkDomainInfo;
BK_TYPE (BkDomainInfo, bk_domain_info)

typedef struct {
  char *class_name; /* of disks; "class" in JSON */
  uint64_t chunk_size;
} BkClassChunkSize;
BK_TYPE (BkClassChunkSize, bk_class_chunk_size)

typedef struct {
  char *name;
  char *type; /* dedup, qcow2; NULL when added = dedup */
  char *path;
  /* dedup, when it is made; when an existing one is added, only the file with its secret */
  uint64_t chunk_size;  /* 64 KiB to 4 MiB, a power of two; 0 = 64 KiB */
  GPtrArray *class_chunk_sizes; /* BkClassChunkSize: for disks of a class, instead of chunk_size */
  uint64_t compression; /* level of zstd, 1 to 19; 0 = 1 */
  char *encryption;     /* none, passphrase, key-file; told, not set */
  char *passphrase_file, *key_file; /* paths on the daemon's host; read when the repository is opened, never copied */
  char *state;  /* ok, unreachable, locked (the secret is missing or wrong) */
  char *reason;
  uint64_t backups;
  uint64_t bytes_stored; /* taken on the storage */
  uint64_t bytes_free;
  /* dedup, only in the answer for one repository */
  uint64_t bytes_logical;     /* sum of the sizes of all disks of all backups, without what was known to be zero */
  uint64_t bytes_unique;      /* of different chunks, before compression */
  uint64_t bytes_reclaimable; /* what gc would free now */
  uint64_t packs, chunks;
  uint64_t trash;           /* deleted backups that can still be had back */
  uint64_t damaged_chunks;  /* known to be damaged */
  int64_t verified_at;      /* last complete verification */
  int64_t created_at;
} BkRepositoryInfo;
BK_TYPE (BkRepositoryInfo, bk_repository_info)

typedef struct {
  char *name;
  char *level;
  char *state;  /* completed or failed */
  char *file;   /* path of the image: relative to the backup's folder in a manifest, absolute from the API */
  char *format;
  uint64_t size;
  uint64_t bytes_transferred, bytes_zero, bytes_stored;
  uint64_t bytes_different, bytes_new; /* dedup: as in the job */
  char *parent;     /* backup ID whose image of this disk is the backing file, or NULL */
  char *checkpoint; /* its checkpoint's ID or NULL */
  char *qdev, *node, *source_format, *source_file; /* of the VM at that time */
  BkProblem *error;
} BkBackupDisk;
BK_TYPE (BkBackupDisk, bk_backup_disk)

/* A backup; the same struct is the manifest (manifest.json). */
typedef struct {
  uint64_t version; /* of the manifest format: 1 */
  char *id;
  char *vm;
  char *job_id;
  char *copy_of;    /* the backup that it is a copy of, in another repository; NULL for an original */
  char *repository; /* NULL for --target */
  char *location;   /* folder; "" in a manifest */
  char *state;      /* completed, partial */
  char *mode;
  char *qemu_version;
  int64_t point_in_time;
  int64_t completed_at;
  bool guest_running; /* at the point in time */
  bool quiesced;      /* the guest's file systems were frozen at the point in time */
  uint64_t size, bytes_stored;
  /* dedup; not part of a manifest */
  bool pinned;         /* neither deleted nor pruned until unpinned */
  bool damaged;        /* stored data of it is known to be damaged */
  int64_t verified_at; /* when all of it was last read and found right */
  int64_t deleted_at;  /* in the trash since then */
  GPtrArray *disks; /* BkBackupDisk */
} BkBackupInfo;
BK_TYPE (BkBackupInfo, bk_backup_info)

typedef struct {
  char *name;    /* disk */
  char *bitmap;  /* in QEMU */
  char *parent;  /* checkpoint ID before it on this disk, or NULL */
  char *state;   /* provisional, committed */
  uint64_t size; /* of the disk at that time */
  bool persistent;
} BkCheckpointDisk;
BK_TYPE (BkCheckpointDisk, bk_checkpoint_disk)

typedef struct {
  char *id;
  char *name; /* given by the user, or NULL */
  char *vm;
  char *backup_id; /* NULL: made by `checkpoint create` */
  char *job_id;
  int64_t created_at;
  GPtrArray *disks; /* BkCheckpointDisk */
} BkCheckpointInfo;
BK_TYPE (BkCheckpointInfo, bk_checkpoint_info)

/* POST /v1/checkpoints */
typedef struct {
  char *vm;
  GStrv disks;
  char *name;
} BkCheckpointRequest;
BK_TYPE (BkCheckpointRequest, bk_checkpoint_request)

/* POST /v1/exports: a point in time for a reader that is not ours. */
typedef struct {
  char *vm;
  char *id;
  GStrv disks; /* NULL = all writable disks with a medium */
  char *since; /* checkpoint: its changes are offered as a dirty bitmap; NULL: none */
  char *listen; /* "unix" (NULL) or "tcp:HOST:PORT" */
  char *tls;    /* folder on the daemon's host with keys.psk, or with ca-cert.pem, server-cert.pem and server-key.pem; NULL = none */
  uint64_t timeout_seconds; /* ended as failed after that; 0 = 86400 */
  char *quiesce;         /* this and the rest: as in BkBackupRequest */
  GStrv quiesce_mounts;
  char *hook;
  char *hook_failure;
} BkExportRequest;
BK_TYPE (BkExportRequest, bk_export_request)

typedef struct {
  char *name;
  char *uri;           /* for nbdinfo, nbdcopy, qemu-img */
  char *export_name;
  char *dirty_context; /* meta context of the changes since the checkpoint; NULL = none */
  uint64_t size;
  char *level;  /* full, or differential where there is a dirty_context */
  char *reason;
  BkProblem *error;
} BkExportDisk;
BK_TYPE (BkExportDisk, bk_export_disk)

/* An export is a job of kind "export"; this is its own view of it. */
typedef struct {
  char *id; /* of the job as well */
  char *vm;
  char *state; /* beginning ready ending ended failed */
  char *checkpoint_id; /* made with it; stays when the export ends with success */
  int64_t created_at, point_in_time, expires_at, ended_at;
  BkQuiesceInfo *quiesce; /* as in the job */
  BkProblem *error;
  GPtrArray *disks; /* BkExportDisk */
} BkExportInfo;
BK_TYPE (BkExportInfo, bk_export_info)

/* POST /v1/exports/{id}/end */
typedef struct {
  char *result; /* success: the checkpoint is kept; failed: the changes count as not backed up */
} BkExportEnd;
BK_TYPE (BkExportEnd, bk_export_end)

/* POST /v1/serves: a disk of a backup, read-only over NBD. */
typedef struct {
  char *backup;
  char *disk;
  char *listen; /* "unix" (NULL) or "tcp:HOST:PORT", HOST of the loopback; port 0 = any */
} BkServeRequest;
BK_TYPE (BkServeRequest, bk_serve_request)

typedef struct {
  char *id;
  char *backup;
  char *disk;
  char *uri;
  uint64_t size;
  int64_t created_at;
} BkServeInfo;
BK_TYPE (BkServeInfo, bk_serve_info)

/* Body of an SSE event; the event's name is its type. */
typedef struct {
  uint64_t id;
  char *type; /* job, vm, backup, checkpoint, export, serve */
  int64_t at;
  char *vm;
  char *job;
} BkEventInfo;

/* True when @id may be a caller's own ID: 1-64 characters of [A-Za-z0-9._-]. */
bool bk_id_is_valid (const char *id);

/* True when @name may name a VM, repository or checkpoint: like an ID, but it starts with a letter or digit. */
bool bk_name_is_valid (const char *name);

/* Parses "10M", "1.5G", "0", "1048576" (K, M, G, T are powers of 1024; an i, B or iB may follow).
 * FALSE with BK_ERROR_INVALID else. */
gboolean bk_size_parse (const char *text, uint64_t *bytes, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* "1.5 GiB"; (transfer full) */
char *bk_size_format (uint64_t bytes);

/* @name as one component of a path: letters and digits stand for themselves, and '.', '_' and '-' where they are not
 * in front; all other bytes are written %XX; the empty name is "%". No two names give the same, and none leads
 * out of its folder or hides. (transfer full) */
char *bk_path_component_escape (const char *name);

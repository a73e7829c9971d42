/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A repository of type dedup: backups as manifests over content-addressed chunks. Each backup is logically full; any may
 * go at any time. The bytes on the storage are specified in schemas/repository-format.md; here is what they are for.
 *
 *   repository.json           format, version, ID, chunk size, compression; the wrapped key
 *   lock                      byte 0: held by the one process that writes; byte 1: shared by all that read
 *   packs/PACK                many chunks, then their table; never changed once it has this name
 *   index/RUN                 a cache: which chunk is in which pack, see chunk-index.h; may go at any time
 *   backups/VM/BACKUP         manifest, the commit point: JSON under a checksum, or a MAC when encrypted
 *   trash/VM/BACKUP.TIME      the manifest of a backup that was deleted at TIME (microseconds)
 *   pins/VM/BACKUP            empty: the backup may not be deleted
 *   damage/chunks/PACK.OFFSET one bad copy of a chunk that a verify found: no target of deduplication, never read first
 *   damage/backups/VM/BACKUP  what of a backup cannot be read, as of its last verify
 *
 *   manifest -> disk -> root page -> ... -> leaf page -> chunk
 *
 * A disk is cut into chunks of one size (64 KiB .. 4 MiB). A chunk's ID is the SHA-256 of its content and type, or an
 * HMAC-SHA-256 with a secret key when encrypted. A chunk of zeroes has no ID and is stored nowhere. A page holds 256 IDs: of chunks in
 * a leaf, of pages above; pages are chunks themselves, so what two backups share below a page is shared by its ID.
 *
 * Invariants:
 *  1. A manifest gets its name only when every pack that holds a chunk it leads to is complete, fsynced and named, and
 *     so is the folder. What no manifest leads to is garbage, and harms nobody.
 *  2. A pack with its name is never changed. It goes only when nothing live is in it, or when what is live in it is on
 *     stable storage in another pack.
 *  3. Live is: what the manifests lead to, those of the trash within the time of grace, and what running writers and
 *     readers of this process hold (leases).
 *  4. A writer never counts on a chunk that GC may take: it looks a chunk up under the same lock under which GC condemns a
 *     pack, a condemned pack is not found, and a pack in which a running writer found or put something is not condemned.
 *  5. Nothing read is trusted: a chunk is decrypted, decompressed and hashed again before one byte of it is given out.
 *  6. A chunk copy that is known to be bad is no target of deduplication. The next backup that has its data stores it
 *     again, and heals all backups that lead to it.
 *  7. Where a chunk is, is known from the tables of the packs alone. The index is a cache of them, in files; memory is bounded,
 *     about 0.1 bytes for each chunk. It is made anew where it is damaged, and before a chunk that a backup leads to is called
 *     lost; and no pack is removed by its word alone: the pack's own table must agree.
 *
 * Who may run beside whom, in one process (+ freely, - waits, C answers CONFLICT):
 *
 *                 writer  reader  delete  verify  gc    copy
 *   writer          +       +       +1      +      +2     +
 *   reader          +       +       +3      +      +2     +
 *   delete          +1      +3      -       +      +      +3
 *   verify          +       +       +       +      C      +
 *   gc              +2      +2      +       C      C      +2
 *
 *   1 the backup that a writer takes as base, and
 *   3 the one that is read, may be deleted: the lease keeps its chunks until writer and reader are done.
 *   2 by invariant 4; a reader whose pack goes looks its chunk up once more.
 * A delete waits for the moment in which GC lists what there is, so that each manifest is in the list of backups or in the trash.
 *
 * Other processes: one process opens a repository for writing (CONFLICT for the second). Any number opens it for reading;
 * they need no right to write. While one of those runs, GC does not empty the trash, so that what they read stays.
 *
 * Threads: all functions may be called from any thread and block: worker threads. Errors, besides those named at a
 * function: NO_SPACE, UNREACHABLE (the folder is gone or another repository is in its place), DENIED, FAILED (I/O).
 */
#pragma once

#include "bk-types.h"
#include "rate.h"
#include "reader.h"
#include "sink.h"

#define BK_REPOSITORY_CHUNK_MIN (64u * 1024)
#define BK_REPOSITORY_CHUNK_MAX (4u * 1024 * 1024)
#define BK_REPOSITORY_GRACE_SECONDS (7u * 24 * 60 * 60) /* what callers take who have no opinion */

typedef struct BkRepository BkRepository;

/* --- making and opening --- */

/* What unlocks an encrypted repository: exactly one of the two. */
typedef struct {
  const char *passphrase; /* through scrypt */
  const char *key_file;   /* path of a file of 32 bytes to 64 KiB, all of which counts */
} BkRepositorySecret;

typedef struct {
  uint32_t chunk_size; /* 0 = 64 KiB; a power of two from BK_REPOSITORY_CHUNK_MIN to _MAX */
  int compression;     /* zstd level 1..19; 0 = 1; negative = none */
  const GPtrArray *class_chunk_sizes; /* BkClassChunkSize, each class once; NULL = none */
  const BkRepositorySecret *secret; /* NULL = not encrypted */
} BkRepositoryOptions;

typedef enum {
  BK_REPOSITORY_READ,  /* no lock, nothing is ever written */
  BK_REPOSITORY_WRITE, /* this process writes, and no other */
} BkRepositoryAccess;

/* Whether @path holds one; also when it is encrypted, locked or of a newer version. */
bool bk_repository_is_one (const char *path);
/* Whether the one at @path needs a secret to be opened. As _open() for errors. */
gboolean bk_repository_is_encrypted (const char *path, bool *encrypted, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Makes one in @path, a folder that is missing or empty; @options may be NULL. CONFLICT when something is there, INVALID
 * for options. Nothing is left where it fails. */
gboolean bk_repository_create (const char *path, const BkRepositoryOptions *options, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* NOT_FOUND: nothing there; CONFLICT: it is no dedup repository, or another process holds it for writing; DENIED: a secret
 * is needed, or wrong; FAILED: of a newer version; CORRUPT: repository.json is damaged. */
BkRepository *bk_repository_open (const char *path, const BkRepositorySecret *secret, BkRepositoryAccess access, GError **error) G_GNUC_WARN_UNUSED_RESULT;
BkRepository *bk_repository_ref (BkRepository *repository);
void bk_repository_unref (BkRepository *repository);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkRepository, bk_repository_unref)

const char *bk_repository_path (BkRepository *repository);
const char *bk_repository_id (BkRepository *repository);
uint32_t bk_repository_chunk_size (BkRepository *repository);
/* For disks of class @name; that of the repository for a class that is not in the list, and for none (NULL). */
uint32_t bk_repository_class_chunk_size (BkRepository *repository, const char *name);
/* BkClassChunkSize, or NULL; (transfer none). */
GPtrArray *bk_repository_class_chunk_sizes (BkRepository *repository);

/* --- backups that are there --- */

/* All committed backups, oldest first; (transfer full), BkBackupInfo with an absolute location and no files. Damaged
 * manifests are logged and left out. */
GPtrArray *bk_repository_list (BkRepository *repository, GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool bk_repository_has (BkRepository *repository, const char *vm, const char *backup);
/* NOT_FOUND, CORRUPT. (transfer full) */
BkBackupInfo *bk_repository_read (BkRepository *repository, const char *vm, const char *backup, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* What the manifest says of one disk. */
typedef struct {
  uint64_t size;
  uint32_t chunk_size;
  char root[65];        /* ID of the root page in hexadecimal: equal roots = equal content, within one repository; "" = all zero */
  uint64_t bytes_in;      /* written or zeroed by the backup */
  uint64_t bytes_changed; /* of those, different from the base (without base: not zero) */
  uint64_t bytes_new;     /* new to the repository, before compression; with the pages of the map */
  uint64_t bytes_stored;  /* and what those took */
} BkRepositoryDisk;
/* NOT_FOUND names the disks that the backup has. */
gboolean bk_repository_read_disk (BkRepository *repository, const char *vm, const char *backup, const char *disk,
                                  BkRepositoryDisk *result, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* A disk of a backup as a point in time; any number at once, each with any number of workers, any alignment. Extents are
 * DATA and ZERO; with @base (a backup ID of the same VM, or NULL) CLEAN where both are equal, found without reading what is
 * equal (a base of another chunk size, or without that disk, gives no CLEAN). A read is CORRUPT where a chunk is bad, and
 * names backup, disk and offset. Keeps the repository, and a lease on the backup, until it is freed. */
BkReader *bk_repository_open_disk (BkRepository *repository, const char *vm, const char *backup, const char *disk,
                                   const char *base, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The small things of a backup: "domain.xml". (transfer full), NUL-terminated behind the content. */
char *bk_repository_read_blob (BkRepository *repository, const char *vm, const char *backup, const char *name, size_t *length,
                               GError **error) G_GNUC_WARN_UNUSED_RESULT;
GStrv bk_repository_list_blobs (BkRepository *repository, const char *vm, const char *backup, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- a backup to be --- */

typedef struct BkRepositoryWriter BkRepositoryWriter;

/* A lease. CONFLICT when the backup exists, or is being written. Nothing of it can be seen before the commit. */
BkRepositoryWriter *bk_repository_begin (BkRepository *repository, const char *vm, const char *backup, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* A disk of it, as a sink; several at once. @chunk_size 0 = that of the base, else of the repository; with a base in the
 * repository, the base's is kept whatever is asked. What is not written comes from disk @name of backup @base of the same
 * VM; NULL: it is zero. The disk may have grown (the new part is zero) or shrunk since. Whether it is an increment or all of
 * the disk was read makes no difference here: what is equal costs nothing.
 * sink->block is the chunk size; sink->wants_zeroes is set with a base. The caller frees the sink, before or after commit.
 * CONFLICT: a disk of that name is there; NOT_FOUND: no such base, or it has no such disk; CORRUPT: the base is damaged;
 * INVALID: chunk size. */
BkSink *bk_repository_writer_add_disk (BkRepositoryWriter *writer, const char *name, uint64_t size, uint32_t chunk_size,
                                       const char *base, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The counters of a disk while it is written and after; FALSE when there is no such disk. root is "" before finish. */
bool bk_repository_writer_disk (BkRepositoryWriter *writer, const char *name, BkRepositoryDisk *result);

/* Keeps @length bytes (at most 4 MiB) under a name with the backup. INVALID, CONFLICT. */
gboolean bk_repository_writer_add_blob (BkRepositoryWriter *writer, const char *name, const void *data, size_t length,
                                        GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Everything to stable storage, then the manifest: from then on the backup exists. VM and ID are those of begin; each disk
 * in @manifest with state "completed" must have been finished as a sink of its size (INVALID), and disks that are not in it
 * or have failed are left out. bytes_stored is filled in from the counters where it is 0. A writer that is committed, or whose
 * commit has failed, can only be freed; after a failure the backup does not exist. */
gboolean bk_repository_writer_commit (BkRepositoryWriter *writer, const BkBackupInfo *manifest, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Without a commit: gives it up. What it stored is garbage that the next GC takes, or that the next backup finds. */
void bk_repository_writer_free (BkRepositoryWriter *writer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkRepositoryWriter, bk_repository_writer_free)

/* --- delete, trash, pins --- */

/* Into the trash; CONFLICT when it is pinned, NOT_FOUND. Space comes back with the GC after the time of grace. */
gboolean bk_repository_delete (BkRepository *repository, const char *vm, const char *backup, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Out of it; NOT_FOUND names what the trash has; CONFLICT when a backup of that name is there. */
gboolean bk_repository_undelete (BkRepository *repository, const char *vm, const char *backup, GError **error) G_GNUC_WARN_UNUSED_RESULT;

typedef struct {
  char *vm, *backup;
  int64_t deleted_at;
  BkBackupInfo *info; /* NULL when the manifest is damaged */
} BkRepositoryTrash;
void bk_repository_trash_free (BkRepositoryTrash *trash);
/* Oldest deletion first; (transfer full), BkRepositoryTrash. */
GPtrArray *bk_repository_list_trash (BkRepository *repository, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* A pinned backup cannot be deleted. Both may be repeated. NOT_FOUND. */
gboolean bk_repository_pin (BkRepository *repository, const char *vm, const char *backup, gboolean pinned, GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool bk_repository_is_pinned (BkRepository *repository, const char *vm, const char *backup);

/* --- verify --- */

/* From one of the workers, a few times a second at most. */
typedef void (*BkRepositoryProgress) (uint64_t done, uint64_t total, gpointer user_data);

/* One range that cannot be read. */
typedef struct {
  char *vm, *backup, *disk; /* disk NULL: the manifest, or blob @reason speaks of */
  uint64_t offset, length;
  char *reason;
} BkRepositoryDamage;
void bk_repository_damage_free (BkRepositoryDamage *damage);

typedef struct {
  uint64_t backups, chunks, bytes; /* looked at; each chunk once */
  uint64_t bad_chunks;             /* distinct */
  GPtrArray *damage;               /* BkRepositoryDamage, at most 10000 */
} BkRepositoryVerify;
void bk_repository_verify_free (BkRepositoryVerify *verify);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkRepositoryVerify, bk_repository_verify_free)

/* Reads, decrypts and hashes every chunk of one backup (of all, with @vm and @backup NULL) with @workers threads (0 = one a
 * processor), no faster than @rate, which may be paused (NULL = no limit). Damage is no error: it is in the result, and kept in the repository (open for writing) until a later verify
 * finds it healed. CANCELLED, CONFLICT (GC runs), NOT_FOUND. (transfer full) */
BkRepositoryVerify *bk_repository_verify (BkRepository *repository, const char *vm, const char *backup, unsigned workers, BkRate *rate,
                                          BkRepositoryProgress progress, gpointer user_data, GCancellable *cancellable,
                                          GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* What the last verify has kept of one backup; (transfer full), BkRepositoryDamage, empty when nothing is known. Whoever
 * makes the next backup reads such a disk whole, so that it heals. */
GPtrArray *bk_repository_read_damage (BkRepository *repository, const char *vm, const char *backup, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- space --- */

typedef struct {
  uint64_t trash_purged;     /* backups that left the trash for good */
  uint64_t packs_removed, packs_rewritten;
  uint64_t bytes_freed;      /* of storage, net */
  uint64_t bytes_rewritten;  /* live bytes that moved */
  uint64_t debris_removed;   /* temporary files of crashes */
  uint64_t packs_in_use;     /* with garbage, but held by running writers: the next time */
  bool trash_held;           /* another process reads: the trash was not emptied */
} BkRepositoryGc;

/* Takes back what nothing live leads to. @grace_seconds: how long the trash keeps. @dry_run: only counts. CONFLICT when one
 * runs, or a verify; CORRUPT when a manifest cannot be read (nothing is freed then: what it leads to is not known);
 * CANCELLED and NO_SPACE lose nothing, and what was freed by then is. */
gboolean bk_repository_gc (BkRepository *repository, uint64_t grace_seconds, gboolean dry_run, BkRepositoryProgress progress,
                           gpointer user_data, GCancellable *cancellable, BkRepositoryGc *result, GError **error) G_GNUC_WARN_UNUSED_RESULT;

typedef struct {
  uint64_t backups, trashed, packs, chunks;
  uint64_t bytes_logical; /* sizes of all disks of all backups */
  uint64_t bytes_data;    /* of those, not zero */
  uint64_t bytes_unique;  /* distinct, before compression: what all backups lead to */
  uint64_t bytes_live;    /* and as stored */
  uint64_t bytes_stored;  /* all packs */
  uint64_t bytes_garbage; /* what GC would free now with no grace */
  double dedup_ratio;       /* bytes_data / bytes_unique; 0 = nothing there */
  double compression_ratio; /* bytes_unique / bytes_live; 0 = nothing there */
} BkRepositoryStats;

/* Walks all maps: seconds for large repositories. CONFLICT while GC runs; CANCELLED. */
gboolean bk_repository_stats (BkRepository *repository, GCancellable *cancellable, BkRepositoryStats *stats, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Bytes of all packs, at once. */
uint64_t bk_repository_bytes_stored (BkRepository *repository);

/* --- copies --- */

/* A backup in another repository, with another key and chunk size. It is a backup of its own, with an ID of its own, whose
 * manifest tells what it is a copy of. */
typedef struct {
  const char *vm, *backup; /* what is copied */
  const char *id;          /* the copy's: none that the other repository has */
  const char *base, *base_there; /* what the backup has in common with @base, of the same VM, is not read, but taken from a copy of
                                  * that in the other repository; or both NULL */
} BkRepositoryCopyOf;

typedef struct BkRepositoryCopy BkRepositoryCopy;

/* Keeps both repositories. NOT_FOUND, CORRUPT; CONFLICT when @to has the ID. (transfer full) */
BkRepositoryCopy *bk_repository_copy_begin (BkRepository *from, BkRepository *to, const BkRepositoryCopyOf *of, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The disks that are to be carried, 0 ... - 1. */
unsigned bk_repository_copy_disks (BkRepositoryCopy *copy);
const char *bk_repository_copy_disk (BkRepositoryCopy *copy, unsigned index, uint64_t *size);
/* The two ends of one of them, once: (transfer full). Errors of bk_repository_open_disk() and _writer_add_disk(). */
gboolean bk_repository_copy_open (BkRepositoryCopy *copy, unsigned index, BkReader **reader, BkSink **sink, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* When all are carried: the blobs, and the manifest. As bk_repository_writer_commit(); CORRUPT. */
gboolean bk_repository_copy_commit (BkRepositoryCopy *copy, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Without a commit: gives it up. After the readers and sinks have been freed, or before. */
void bk_repository_copy_free (BkRepositoryCopy *copy);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkRepositoryCopy, bk_repository_copy_free)

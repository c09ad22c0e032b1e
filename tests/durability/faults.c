/* Loaded before the C library, it makes one operation on files below a folder fail, or kills the process there.
 *
 *   FAULT_UNDER  the folder
 *   FAULT_LOG    where to note each operation on its files, one a line
 *   FAULT_AT     which of them, from 1; 0 for none
 *   FAULT_KIND   error: it fails; half: a write does half of its work, then fails; full: it fails, and so does whatever
 *                takes space from there on; kill: SIGKILL before it; torn: SIGKILL when half of a write is done
 *   FAULT_ERRNO  with which errno
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum action { GO, FAIL, HALF_THEN_FAIL, HALF_THEN_DIE };

static const char *setting(const char *name) {
  const char *value = getenv(name);
  return value ? value : "";
}

/* By system calls alone: what is noted is not counted. */
static void note(const char *operation, const char *path) {
  char line[PATH_MAX + 16];
  int length = snprintf(line, sizeof line, "%s %s\n", operation, path);
  int log = syscall(SYS_openat, AT_FDCWD, setting("FAULT_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (log < 0) return;
  if (syscall(SYS_write, log, line, length) != length) abort();
  syscall(SYS_close, log);
}

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

/* What shall happen to an operation; `space` says whether it takes space on the disk. */
static enum action meet(const char *operation, const char *path, int space) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  static long count;
  const char *under = setting("FAULT_UNDER"), *kind = setting("FAULT_KIND");
  if (!*under || !path || strncmp(path, under, strlen(under)) != 0) return GO;
  pthread_mutex_lock(&lock);
  long number = ++count, at = atol(setting("FAULT_AT"));
  note(operation, path);
  pthread_mutex_unlock(&lock);
  if (at == 0 || number < at) return GO;
  if (strcmp(kind, "full") == 0) return number == at || space ? FAIL : GO;
  if (number > at) return GO;
  int splits = strcmp(operation, "write") == 0;
  if (strcmp(kind, "torn") == 0 && splits) return HALF_THEN_DIE;
  if (strcmp(kind, "torn") == 0 || strcmp(kind, "kill") == 0) die();
  return strcmp(kind, "half") == 0 && splits ? HALF_THEN_FAIL : FAIL;
}

static int failed(void) {
  errno = atoi(setting("FAULT_ERRNO"));
  return -1;
}

/* The path of an open file, valid until this thread asks for the next. */
static const char *path_of(int fd) {
  static __thread char path[PATH_MAX];
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return NULL;
  path[length] = 0;
  return path;
}

/* `next` is the C library's function of this name. */
#define NEXT(name)               \
  static __typeof__(&name) next; \
  if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define OPEN(name)                                                               \
  int name(const char *path, int flags, ...) {                                   \
    NEXT(name);                                                                  \
    int mode = 0, creates = (flags & O_CREAT) != 0;                              \
    if (creates) {                                                               \
      va_list rest;                                                              \
      va_start(rest, flags);                                                     \
      mode = va_arg(rest, int);                                                  \
      va_end(rest);                                                              \
    }                                                                            \
    if (meet(creates ? "create" : "open", path, creates) != GO) return failed(); \
    return next(path, flags, mode);                                              \
  }
OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *bytes, size_t length) {
  NEXT(write);
  enum action action = meet("write", path_of(fd), 1);
  if (action == GO) return next(fd, bytes, length);
  if (action != FAIL && next(fd, bytes, length / 2) < 0) abort();
  if (action == HALF_THEN_DIE) die();
  return failed();
}

#define ON_FILE(name, operation, parameters, arguments)           \
  int name parameters {                                           \
    NEXT(name);                                                   \
    if (meet(operation, path_of(fd), 0) != GO) return failed();   \
    return next arguments;                                        \
  }
ON_FILE(fsync, "sync", (int fd), (fd))
ON_FILE(fdatasync, "sync", (int fd), (fd))
ON_FILE(fchmod, "chmod", (int fd, mode_t mode), (fd, mode))

int rename(const char *from, const char *to) {
  NEXT(rename);
  return meet("rename", to, 0) != GO ? failed() : next(from, to);
}

int mkdir(const char *path, mode_t mode) {
  NEXT(mkdir);
  return meet("mkdir", path, 1) != GO ? failed() : next(path, mode);
}

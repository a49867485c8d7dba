/*
 * The load on names: mdtest-like. Each of so many processes has directories of its own, with 1,000
 * files in each; all do the same thing at the same time, each to its own files, in order:
 *
 *     names make|create|write|stat|rename|unlink|remove DIRECTORY PROCESSES FILES
 *
 * make and remove are the directories; create makes empty files, write files of 100 bytes. Prints
 * the operations per second of all processes together, from their common start to the end of
 * the last.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PER_DIRECTORY = 1000 };

static double seconds(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void fail(const char *operation, const char *path)
{
	fprintf(stderr, "names: %s: ", path);
	perror(operation);
	_exit(1);
}

static void one(const char *phase, const char *directory, int file)
{
	char path[4200], other[4200];
	struct stat status;
	int made;

	snprintf(path, sizeof path, "%s/file-%06d", directory, file);
	snprintf(other, sizeof other, "%s/moved-%06d", directory, file);
	switch (phase[0]) {
	case 'c':
	case 'w':
		made = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);
		if (made < 0) fail("create", path);
		if (phase[0] == 'w' && write(made, path, 100) != 100) fail("write", path);
		if (close(made)) fail("close", path);
		break;
	case 's':
		if (stat(path, &status)) fail("stat", path);
		break;
	case 'r':
		if (rename(path, other)) fail("rename", path);
		break;
	case 'u':
		if (unlink(other)) fail("unlink", other);
		break;
	}
}

static void all(const char *phase, const char *top, int process, int files)
{
	char directory[4096];
	int file;

	for (file = 0; file < files; file++) {
		if (file % PER_DIRECTORY == 0) {
			snprintf(directory, sizeof directory, "%s/process-%d-%d", top, process,
				file / PER_DIRECTORY);
			if (!strcmp(phase, "make") && mkdir(directory, 0755))
				fail("mkdir", directory);
			if (!strcmp(phase, "remove") && rmdir(directory))
				fail("rmdir", directory);
		}
		if (strcmp(phase, "make") && strcmp(phase, "remove"))
			one(phase, directory, file);
	}
}

int main(int count, char **words)
{
	int process, processes, files, start[2], status, failed = 0;
	char byte;
	double begin;

	if (count != 5) return 8;
	processes = atoi(words[3]);
	files = atoi(words[4]);
	if (pipe(start)) fail("pipe", words[2]);
	for (process = 0; process < processes; process++) {
		pid_t child = fork();

		if (child < 0) fail("fork", words[2]);
		if (child) continue;
		close(start[1]);
		/* Ends when the parent closes its end. */
		if (read(start[0], &byte, 1)) _exit(1);
		all(words[1], words[2], process, files);
		_exit(0);
	}
	usleep(50000);
	begin = seconds();
	close(start[1]);
	while (wait(&status) > 0) failed |= status;
	if (failed) return 1;
	printf("%.0f\n", (double)processes * files / (seconds() - begin));
	return 0;
}
